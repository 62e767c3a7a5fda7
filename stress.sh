B=/work/main/target/x86_64-unknown-linux-gnu/debug/coracle
export CORACLE_ROOT=/tmp/perf/st/root
$B pull -q host >/dev/null 2>&1
$B daemon 2>/dev/null & D=$!
sleep 1
export DOCKER_HOST=unix://$(find $CORACLE_ROOT -name coracle.sock)
one() { for i in $(seq $2); do
  docker run --rm --network none host sh -c 'echo out; echo err >&2' >o.$1 2>e.$1; c=$?
  [ "$(cat o.$1)" = out ] && [ "$(cat e.$1)" = err ] && [ $c = 0 ] || echo "BAD $1 $i code=$c out=[$(cat o.$1)] err=[$(cat e.$1)]"
done; }
for k in 1 2 3 4 5 6; do one $k 40 & p="$p $!"; done
wait $p
kill $D; wait $D
