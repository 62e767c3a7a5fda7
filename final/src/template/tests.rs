//! What `docker inspect -f` and `docker ps --format` print, on the same data.

use serde_json::json;

use super::value::Value;
use super::*;

fn data() -> Value {
    Value::from(&json!({
        "Name": "/c1", "Id": "821738675fd10578", "Args": ["1000"], "Empty": [], "Pid": 0,
        "Config": {"Labels": {"a": "1", "x": "y", "z": "w"}, "Env": ["A=b", "PATH=/bin"]},
        "Mounts": [{"Source": "/a", "Destination": "/v"}, {"Source": "/b", "Destination": "/w"}],
        "Policy": {"MaximumRetryCount": 3, "Name": "on-failure"},
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "99/tcp": null},
    }))
}

fn render(text: &str) -> String {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(why) => return format!("parse: {why}"),
    };
    template.render_raw(&data()).unwrap_or_else(|why| format!("execute: {why}"))
}

/// Each line is a template and what docker prints.
fn as_docker(cases: &str) {
    for line in cases.lines().filter(|line| !line.trim().is_empty()) {
        let (template, said) = line.trim().split_once(" => ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(render(template), said, "{template}");
    }
}

#[test]
fn fields_functions_and_pipes() {
    as_docker(
        r#"
        {{.Name}} {{$.Name}} {{ .Config.Env }} => /c1 /c1 [A=b PATH=/bin]
        {{.Config.Labels}} => map[a:1 x:y z:w]
        {{json .Config.Labels}} {{json "<a&b>"}} => {"a":"1","x":"y","z":"w"} "<a&b>"
        {{index .Config.Labels "x"}} => y
        {{(index (index .Ports "80/tcp") 0).HostPort}} => 8080
        {{(index .Mounts 0).Destination}} => /v
        {{.Name | printf "%q %s" "x"}} => "x" /c1
        {{join .Config.Env ","}} {{split .Name "/"}} => A=b,PATH=/bin [ c1]
        {{upper .Name}} {{lower "AB"}} {{title "hello world"}} => /C1 ab Hello World
        {{pad "x" 2 3}}| {{pad "" 2 3}}| =>   x   | |
        {{truncate "hello" 3}} {{truncate "he" 3}} => hel he
        {{slice .Id 0 12}} {{slice "hello" 1 3}} {{index "abc" 1}} => 821738675fd1 el 98
        {{len .Mounts}} {{len .Config.Labels}} {{len "abc"}} => 2 3 3
        {{html "<a>"}} {{urlquery "a b"}} {{print 1 2 "a"}} => &lt;a&gt; a+b 1 2a
        {{print "a" "b" 1 2 true}} => ab1 2 true
        {{not true}} {{and 0 1}} {{or 0 "" "x"}} => false 0 x
        {{eq 1 1}} {{ne "a" "b"}} {{lt 1 2}} {{gt 2.5 1.5}} {{ge 1 2}} {{le "a" "b"}} => true true true true false true
        {{eq 1 2 3 1}} {{eq .Pid 0}} {{eq .Config.Labels nil}} => true true false
        {{.Name|}} => /c1
        "#,
    );
    assert_eq!(render("{{println .Name}}"), "/c1\n");
}

#[test]
fn literals_comments_and_trimming() {
    as_docker(
        r#"
        {{`raw`}} {{"q\t\"\u00e9"}} => raw q	"é
        {{1.5}} {{0x10}} {{true}} {{'a'}} => 1.5 16 true 97
        {{1_000}} {{1e3}} {{-5}} {{+5}} {{.5}} => 1000 1000 -5 5 0.5
        {{1.0}} {{1e20}} {{1e21}} {{0.1}} {{1234567.5}} => 1 1e+20 1e+21 0.1 1.2345675e+06
        {{json 1234567.5}} {{json 1e21}} {{json 0.0000001}} => 1234567.5 1e+21 1e-7
        {{/* c */}}x {{- " y " -}} z => x y z
        a {{- /* c */ -}} b => ab
        "#,
    );
}

#[test]
fn conditions_and_loops() {
    as_docker(
        r#"
        {{if .Pid}}up{{else if eq .Name "/c1"}}down{{else}}?{{end}} => down
        {{if and (eq 1 1) (ne "a" "b")}}y{{end}} => y
        {{with .Config}}{{len .Env}}{{end}}{{with .Pid}}x{{else}}none{{end}} => 2none
        {{with $x := .Name}}{{$x}}{{end}} => /c1
        {{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}. => /a:/v /b:/w .
        {{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}} => a=1;x=y;z=w;
        {{range $i, $a := .Config.Env}}{{if $i}},{{end}}{{$a}}{{else}}none{{end}} => A=b,PATH=/bin
        {{range .Empty}}x{{else}}none{{end}} => none
        {{range 3}}{{.}},{{end}} => 0,1,2,
        {{range $k, $v := .Ports}}{{$k}}{{range $v}} {{.HostPort}}{{end}};{{end}} => 80/tcp 8080;99/tcp;
        {{range .Config.Env}}{{.}}{{break}}{{end}} {{range .Config.Env}}{{continue}}x{{end}}ok => A=b ok
        {{$x := 5}}{{range .Args}}{{$x = 6}}{{end}}{{$x}} => 6
        {{define "a"}}T{{.}}{{end}}{{template "a" .Name}} => T/c1
        {{block "b" .}}B{{.Name}}{{end}} => B/c1
        "#,
    );
}

#[test]
fn printf_is_gos() {
    as_docker(
        r#"
        {{printf "%d %5d|%-8s|%x" 3 7 "ab" "hi"}} => 3     7|ab      |6869
        {{printf "%d" "x"}} {{printf "%s" 5}} {{printf "%d"}} {{printf "a" 1}} => %!d(string=x) %!s(int=5) %!d(MISSING) a%!(EXTRA int=1)
        {{printf "%q" .Config.Env}} => ["A=b" "PATH=/bin"]
        {{printf "%5.2f|%05d|%+d|%e|%g|%c|%U|%t" 3.14159 42 7 12345.678 1e21 65 65 true}} =>  3.14|00042|+7|1.234568e+04|1e+21|A|U+0041|true
        {{printf "%v %s%%" .Policy "a"}} => map[MaximumRetryCount:3 Name:on-failure] a%
        {{printf "%.2s|%5s|%T" "abc" "x" .Name}} => ab|    x|string
        "#,
    );
}

#[test]
fn what_is_no_template_is_told_in_gos_words() {
    as_docker(
        r##"
        {{.Name => parse: template: :1: unclosed action
        {{range .x}} => parse: template: :1: unexpected EOF
        {{foo}} => parse: template: :1: function "foo" not defined
        {{end}} => parse: template: :1: unexpected {{end}}
        {{else}} => parse: template: :1: unexpected {{else}}
        {{$x}} => parse: template: :1: undefined variable "$x"
        {{"a}} => parse: template: :1: unterminated quoted string
        {{ .Name } => parse: template: :1: unexpected "}" in operand
        {{.Name} => parse: template: :1: bad character U+007D '}'
        {{if}}{{end}} => parse: template: :1: missing value for if
        {{break}} => parse: template: :1: {{break}} outside {{range}}
        {{()}} => parse: template: :1: missing value for parenthesized pipeline
        {{(.Name}} => parse: template: :1: unclosed left paren
        {{.Name)}} => parse: template: :1: unexpected right paren
        {{5a}} => parse: template: :1: bad number syntax: "5a"
        {{#}} => parse: template: :1: unexpected "#" in command
        {{"a\q"}} => parse: template: :1: invalid syntax
        {{/* x}} => parse: template: :1: unclosed comment
        {{define "x"}} => parse: template: :1: unexpected EOF
        "##,
    );
}

#[test]
fn what_does_not_fit_is_told_in_gos_words() {
    as_docker(
        r#"
        {{.Nope}} => execute: template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"
        {{.Config.Nope}} => execute: template: :1:9: executing "" at <.Config.Nope>: map has no entry for key "Nope"
        {{.Id.Foo}} => execute: template: :1:5: executing "" at <.Id.Foo>: can't evaluate field Foo in type interface {}
        {{index .Mounts 5}} => execute: template: :1:2: executing "" at <index .Mounts 5>: error calling index: index out of range: 5
        {{(index (index .Ports "1/tcp") 0).HostPort}} => execute: template: :1:3: executing "" at <index (index .Ports "1/tcp") 0>: error calling index: index of untyped nil
        {{index .Config.Labels 5}} => execute: template: :1:2: executing "" at <index .Config.Labels 5>: error calling index: value has type int; should be string
        {{eq 1 "a"}} => execute: template: :1:2: executing "" at <eq 1 "a">: error calling eq: incompatible types for comparison
        {{upper 5}} => execute: template: :1:8: executing "" at <5>: expected string; found 5
        {{upper .Args}} => execute: template: :1:8: executing "" at <.Args>: wrong type for value; expected string; got []interface {}
        {{len 5}} => execute: template: :1:2: executing "" at <len 5>: error calling len: len of type int
        {{len}} => execute: template: :1:2: executing "" at <len>: wrong number of args for len: want 1 got 0
        {{slice .Id 0 100}} => execute: template: :1:2: executing "" at <slice .Id 0 100>: error calling slice: index out of range: 100
        {{.Name .Id}} => execute: template: :1:2: executing "" at <.Name>: Name is not a method but has arguments
        {{.Name | .Id}} => execute: template: :1:10: executing "" at <.Id>: Id is not a method but has arguments
        {{index .Args "a"}} => execute: template: :1:2: executing "" at <index .Args "a">: error calling index: cannot index slice/array with type string
        {{range .Name}}{{end}} => execute: template: :1:8: executing "" at <.Name>: range can't iterate over /c1
        {{template "x"}} => execute: template: :1:11: executing "" at <{{template "x"}}>: template "x" not defined
        {{template "x" .Name}} => execute: template: :1:11: executing "" at <{{template "x" .Name}}>: template "x" not defined
        {{$y = 3}} => execute: template: :1:7: executing "" at <3>: undefined variable: $y
        {{3 4}} => execute: template: :1:2: executing "" at <3>: can't give argument to non-function 3
        {{nil}} => execute: template: :1:2: executing "" at <nil>: nil is not a command
        {{eq .Args .Args}} => execute: template: :1:2: executing "" at <eq .Args .Args>: error calling eq: non-comparable type [1000]: []interface {}
        "#,
    );
}

#[test]
fn the_fields_of_a_template_are_its_columns() {
    let template = Template::parse(r#"{{.ID}}{{if .Size}}{{upper .Names}}{{end}}{{.Label "x"}}"#);
    assert_eq!(template.unwrap().fields(), ["ID", "Size", "Names", "Label"]);
}
