//! `inspect`: containers, images, networks and volumes.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use hyper::StatusCode;
use serde_json::Value as Json;

use super::format::Wrong;
use super::out;
use crate::client::{Client, Refused, encode};
use crate::shape;
use crate::template::Template;
use crate::template::value::Value;

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Print through a template such as '{{.State.Status}}', or as json in one line.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look for this kind of thing only.
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Kind>,
    /// Show also how much containers have written.
    #[arg(short, long)]
    size: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// `container inspect`, `image inspect`
#[derive(Debug, Args)]
pub struct OneKindArgs {
    /// Print through a template such as '{{.Id}}', or as json in one line.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show also how much containers have written.
    #[arg(short, long)]
    size: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// What can be inspected, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// Shows objects by name, as all of Docker's `inspect` commands do: [`Inspector::add`]
/// each object as the engine has sent it, [`Inspector::end`] prints.
pub struct Inspector {
    template: Option<Template>,
    compact: bool,
    objects: Vec<String>,
    rendered: String,
}

impl Inspector {
    /// Reads `--format`: nothing, `json`, or a template.
    ///
    /// # Errors
    /// A template that is none.
    pub fn new(format: Option<&str>) -> Result<Self> {
        let format = format.unwrap_or_default();
        let template = match format {
            "" | "json" => None,
            text => Some(Template::parse(text).map_err(|why| Wrong::parsing(why, 64))?),
        };
        let compact = format == "json";
        Ok(Self { template, compact, objects: Vec::new(), rendered: String::new() })
    }

    /// Takes one object, in JSON; `typ` is its type, one of [`shape`]'s.
    ///
    /// Docker's way: a field that the type has and JSON has not is empty, and a
    /// template that does not fit the type is tried on the JSON itself.
    ///
    /// # Errors
    /// A template that does not fit it.
    pub fn add(&mut self, typ: &str, object: &str) -> Result<()> {
        let Some(template) = &self.template else {
            self.objects.push(object.trim().to_owned());
            return Ok(());
        };
        let json: Json = serde_json::from_str(object).context("understand the engine's answer")?;
        let text = template.render(&shape::value(typ, &json));
        let text = text.or_else(|_| template.render_raw(&Value::from(&json)));
        self.rendered += &text.map_err(|why| Wrong::parsing(why, 1))?;
        self.rendered.push('\n');
        Ok(())
    }

    /// Prints what was taken.
    ///
    /// # Errors
    /// As for [`out::text`].
    pub fn end(self) -> Result<()> {
        match &self.template {
            Some(_) if self.rendered.is_empty() => out::text("\n"),
            Some(_) => out::text(self.rendered),
            None => {
                let all = format!("[{}]", self.objects.join(","));
                out::line(indent(&all, !self.compact))
            }
        }
    }
}

/// JSON with one blank-indented line for each value, or with no blanks at all; its
/// members stay in the order in which they are.
fn indent(json: &str, lines: bool) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    let end_line = |out: &mut String, depth: usize| {
        if lines {
            out.push('\n');
            out.extend(std::iter::repeat_n("    ", depth));
        }
    };
    let mut chars = json.chars().filter(|c| !c.is_ascii_whitespace() || *c == ' ').peekable();
    while let Some(c) = chars.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            ' ' => {}
            '{' | '[' => {
                while chars.next_if_eq(&' ').is_some() {}
                out.push(c);
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                    continue;
                }
                depth += 1;
                end_line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                end_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                end_line(&mut out, depth);
            }
            ':' => out.push_str(if lines { ": " } else { ":" }),
            _ => {
                in_text = c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// `coracle inspect`
pub async fn inspect(client: &Client, args: InspectArgs) -> Result<ExitCode> {
    show(client, args.format.as_deref(), &args.names, args.kind, args.size).await
}

/// `coracle container inspect`, `coracle image inspect`
pub async fn inspect_one(client: &Client, args: OneKindArgs, kind: Kind) -> Result<ExitCode> {
    show(client, args.format.as_deref(), &args.names, Some(kind), args.size).await
}

/// Shows what has these names, of one kind or of any.
pub async fn show(
    client: &Client,
    format: Option<&str>,
    names: &[String],
    kind: Option<Kind>,
    size: bool,
) -> Result<ExitCode> {
    let mut inspector = Inspector::new(format)?;
    let mut errors = Vec::new();
    for name in names {
        let found = find(client, name, kind, size).await;
        errors.extend(found.and_then(|(typ, object)| inspector.add(typ, &object)).err());
    }
    inspector.end()?;
    errors.iter().for_each(|error| out::tell(format!("coracle: {error:#}")));
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first kind of thing that has this name, and its type.
async fn find(
    client: &Client,
    name: &str,
    only: Option<Kind>,
    size: bool,
) -> Result<(&'static str, String)> {
    let kinds = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
    for kind in kinds.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)) {
        let name = encode(name);
        let (typ, path) = match kind {
            Kind::Container => ("Container", format!("/containers/{name}/json?size={size}")),
            Kind::Image => ("Image", format!("/images/{name}/json")),
            Kind::Network => ("Network", format!("/networks/{name}")),
            Kind::Volume => ("Volume", format!("/volumes/{name}")),
        };
        let missing = |error: &anyhow::Error| {
            error.downcast_ref::<Refused>().is_some_and(|r| r.status == StatusCode::NOT_FOUND)
        };
        match client.text(&path).await {
            Err(error) if only.is_none() && missing(&error) => {}
            found => return found.map(|object| (typ, object)),
        }
    }
    anyhow::bail!("No such object: {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_indents_it() {
        let text = r#"[{"a":[],"b":{"c":"x, {\"y\": 1}"},"d":[1, 2]}]"#;
        let lines = "[\n    {\n        \"a\": [],\n        \"b\": {\n            \"c\": \"x, {\\\"y\\\": 1}\"\n        },\n        \"d\": [\n            1,\n            2\n        ]\n    }\n]";
        assert_eq!(indent(text, true), lines);
        assert_eq!(indent(lines, false), text.replace(", 2", ",2"));
    }
}
