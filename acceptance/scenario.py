"""What is asked of every engine, in this order. `IMAGE` is a busybox in a registry.

A step is a command line without the program's name, and perhaps why its answer may
differ. Steps see what those before them have made.
"""

STEPS = [
    # images
    "pull IMAGE", "pull -q IMAGE", "images --format {{.Repository}}:{{.Tag}}", "tag IMAGE mine:2",
    "images -q mine", "inspect -f {{.Config.Cmd}} IMAGE", "history -q mine:2", "rmi mine:2",
    "rmi nobody/nothing", "pull 127.0.0.1:1/none/none:1",
    # run, exit codes, streams
    "run --rm IMAGE echo hello", "run --rm IMAGE sh -c 'echo out; echo err >&2; exit 3'",
    "run --rm IMAGE /no/such", "run --rm IMAGE /etc", "run --rm IMAGE sh -c 'kill -9 $$'",
    "run --rm -i IMAGE cat <<< piped", "run --rm -e A=1 -e B IMAGE sh -c 'echo $A$B'",
    "run --rm -w /tmp IMAGE pwd", "run --rm -w /new/folder IMAGE pwd", "run --rm -u 12:34 IMAGE id",
    "run --rm --entrypoint echo IMAGE entry", "run --rm --hostname box IMAGE hostname",
    "run --rm --network none IMAGE ls /sys/class/net", "run --rm --read-only IMAGE touch /x",
    "run --rm --tmpfs /t:size=1m IMAGE sh -c 'grep \" /t \" /proc/mounts | cut -d\" \" -f1-3'",
    "run --rm -m 64m IMAGE true", "run --rm -m 1k IMAGE true", "run --rm --cpus 0.5 IMAGE true",
    "run --rm --cap-drop ALL IMAGE sh -c 'grep CapEff /proc/self/status'",
    "run --rm --cap-add SYS_ADMIN IMAGE sh -c 'grep CapEff /proc/self/status'",
    "run --rm --security-opt no-new-privileges IMAGE grep NoNewPrivs /proc/self/status",
    "run --rm IMAGE grep -E 'Cap|NoNew|Seccomp:' /proc/self/status", "run --rm --pid host IMAGE true",
    "run --rm --ulimit nofile=123:456 IMAGE sh -c 'ulimit -n; ulimit -Hn'",
    "run --rm --sysctl net.ipv4.ip_forward=0 IMAGE cat /proc/sys/net/ipv4/ip_forward",
    "run --rm --shm-size 2m IMAGE sh -c 'df /dev/shm | tail -1 | tr -s \" \" | cut -d\" \" -f2'",
    "run --rm --add-host a.b:1.2.3.4 IMAGE grep a.b /etc/hosts", "run --rm --dns 9.9.9.9 IMAGE cat /etc/resolv.conf",
    "run --rm --init IMAGE true", "run --rm --privileged IMAGE grep CapEff /proc/self/status",
    "run -d --name a --restart sometimes IMAGE", "run --rm -v bad:path:zz IMAGE true",
    # a life
    "create --name one -l team=sea IMAGE sleep 1000", "create --name one IMAGE", "ps -a --format '{{.Names}} {{.State}} {{.Image}}'",
    "start one", "start one", "ps --format '{{.Names}} {{.State}} {{.Command}} {{.Label \"team\"}}'",
    "ps -q --filter label=team=sea --no-trunc", "ps -aq --filter status=exited", "ps --filter nonsense=1",
    "exec one echo inside", "exec -e X=y -w /tmp one sh -c 'echo $X; pwd'", "exec one sh -c 'exit 7'",
    "exec one /no/such", "exec -d one touch /made", "exec -u 1 one id -u", "exec -i one cat <<< through",
    "top one -o pid,comm", "pause one", "ps --format '{{.Names}} {{.State}}'", "exec one true", "unpause one",
    "diff one", "cp scenario.py one:/tmp/s", "exec one sh -c 'wc -l < /tmp/s'", "cp one:/tmp/none /tmp/x",
    "cp one:/bin/none -", "rename one two", "rename two two", "inspect -f '{{.Name}} {{.State.Status}} {{.State.Running}}' two",
    "inspect -f '{{json .Config.Labels}} {{.HostConfig.NetworkMode}} {{len .Mounts}}' two",
    "inspect -f '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}} {{.RestartCount}}' two",
    "update -m 128m --memory-swap 256m two", "inspect -f {{.HostConfig.Memory}} two",
    "update --restart always two", "inspect -f {{.HostConfig.RestartPolicy.Name}} two", "update --restart no two",
    "kill -s NOSUCH two", "kill two", "wait two", "inspect -f '{{.State.ExitCode}} {{.State.Status}}' two",
    "kill two", "restart -t 1 two", "stop -t 1 two", "stop two", "rm two", "rm two", "inspect two", "logs two",
    # logs
    "run -d --name talk IMAGE sh -c 'echo one; echo two >&2; echo three'", "wait talk", "logs talk",
    "logs --tail 1 talk", "logs -n 0 talk", "logs --since 10m talk", "logs --until 10m talk", "logs --tail x talk",
    "start -a talk", "port talk", "rm -f talk", "rm -f talk",
    # ports
    "run -d --name web -p 127.0.0.1:8099:80 -p 8098:81/udp IMAGE sleep 1000", "port web", "port web 80",
    "port web 99/tcp", "ps --format {{.Ports}}", "run --rm -p 127.0.0.1:8099:80 IMAGE true", "rm -f web",
    # volumes
    "volume create data", "volume create data", "volume ls -q", "run --rm -v data:/d IMAGE sh -c 'echo kept > /d/f'",
    "run --rm -v data:/d:ro IMAGE cat /d/f", "run --rm -v data:/d:ro IMAGE touch /d/x",
    "volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}}' data", "volume inspect none",
    "run -d --name user -v data:/d IMAGE sleep 1000", "volume rm data", "rm -f user", "volume rm data", "volume rm data",
    # networks
    "network create sea --subnet 10.99.0.0/24", "network create sea", "network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'",
    "network inspect -f '{{(index .IPAM.Config 0).Subnet}} {{.Internal}}' sea",
    "run -d --name n1 --network sea --network-alias boat IMAGE sleep 1000",
    "run --rm --network sea IMAGE ping -c 1 -W 2 -q boat", "run --rm --network sea --ip 10.99.0.77 IMAGE hostname -i",
    "run --rm --network sea IMAGE cat /etc/resolv.conf",
    "network rm sea", "network disconnect sea n1", "network connect sea n1", "network connect none n1", "rm -f n1",
    "network rm sea", "network rm bridge", "network rm none-such", "run --rm --network none-such IMAGE true",
    # waiting, restarting, health
    "run -d --name again --restart on-failure:2 IMAGE sh -c 'exit 4'", "wait again",
    "inspect -f '{{.RestartCount}} {{.State.ExitCode}} {{.State.Status}}' again", "rm -f again",
    # cleaning up
    "container prune -f", "volume prune -f", "network prune -f", "ps -aq", "rmi IMAGE", "images -q",
    # wrong words
    "run", "run --no-such-flag IMAGE", "frobnicate", "stop", "inspect", "exec x",
]

# Why an answer may differ: for all pairs, or for dockerd alone. All else must be the same.
USAGE = "usage is told in the client's own words"
WORDS = "the engine's own sentence, with the same exit code"
MAY_DIFFER = {
    "run": USAGE, "stop": USAGE, "inspect": USAGE, "exec x": USAGE, "frobnicate": USAGE,
    "run --no-such-flag IMAGE": USAGE, "run -d --name a --restart sometimes IMAGE": USAGE,
    "pull IMAGE": "docker's client repeats the status at the end",
    "exec one /no/such": "docker's client takes the sentence for the program's output; 126 by an old dockerd, 127 by a new one",
}
MAY_DIFFER_FROM_DOCKERD = {
    "pull 127.0.0.1:1/none/none:1": WORDS, "run --rm IMAGE /no/such": WORDS, "run --rm IMAGE /etc": WORDS,
    "run --rm -m 1k IMAGE true": WORDS, "ps --filter nonsense=1": WORDS, "exec one true": WORDS,
    "kill two": WORDS, "run --rm -v bad:path:zz IMAGE true": WORDS,
    "run --rm -p 127.0.0.1:8099:80 IMAGE true": WORDS, "network rm sea": WORDS,
    "run --rm -u 12:34 IMAGE id": "dockerd names the group once more among the supplementary ones",
    "history -q mine:2": "dockerd keeps no history for an image that has none",
    "run --rm --privileged IMAGE grep CapEff /proc/self/status":
        "runc wants capabilities that this machine does not give; we take those that there are",
    "inspect -f '{{json .Config.Labels}} {{.HostConfig.NetworkMode}} {{len .Mounts}}' two":
        "an old dockerd says default, a new one bridge",
    "rmi IMAGE": "dockerd names the layers too, if it keeps them by itself and not by containerd",
    "port web": "dockerd publishes by IPv6 too, where the machine has it",
    "ps --format {{.Ports}}": "dockerd publishes by IPv6 too, where the machine has it",
    "inspect -f '{{.RestartCount}} {{.State.ExitCode}} {{.State.Status}}' again": "how far it has come is chance",
    "logs --tail 1 talk": "standard output and error are two pipes: which line is last is chance",
}
