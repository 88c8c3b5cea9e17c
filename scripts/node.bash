# A node of one's own for scripts: in a temporary folder, on free loopback ports, stopped and removed
# at the end whatever happens. To be sourced by a script that runs with `set -euo pipefail`.
#
#   node_begin BINARIES PARENT   makes the folder in PARENT; chronosdb is in BINARIES
#   node_start [FLAG...]         starts the node, or starts it again on the same data
#   node_stop                    stops it, keeping the data
#   node_forget                  stops it and removes the data
#
# While it runs, NODE_PID, NODE_HTTP and CHRONOS_ADDR (which chronosctl reads) say how to reach it.

node_begin() {
    node_binaries=$1
    node_folder=$(mktemp -d "$2/chronosdb.XXXXXX")
    NODE_PID=
    trap node_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

node_start() {
    local deadline
    NODE_HTTP=127.0.0.1:$(node_free_port)
    CHRONOS_ADDR=127.0.0.1:$(node_free_port)
    env -u CHRONOS_ADDR "$node_binaries/chronosdb" -node-id=temporary \
        -data-dir="$node_folder/data" -grpc-addr="$CHRONOS_ADDR" -http-addr="$NODE_HTTP" "$@" \
        >>"$node_folder/log" 2>&1 &
    NODE_PID=$!
    export NODE_PID NODE_HTTP CHRONOS_ADDR

    deadline=$((SECONDS + 60))
    until node_ready; do
        if ! kill -0 "$NODE_PID" 2>/dev/null; then
            echo "the node stopped before it was ready" >&2
            exit 1
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "the node is not ready after 60 s" >&2
            exit 1
        fi
        sleep 0.02
    done
}

node_stop() {
    [ -n "$NODE_PID" ] || return 0
    kill -TERM "$NODE_PID" 2>/dev/null || true
    wait "$NODE_PID" || true
    NODE_PID=
}

node_forget() {
    node_stop
    rm -rf "$node_folder/data"
}

# What remains are details.

node_end() {
    local status=$?
    node_stop
    if [ "$status" -ne 0 ] && [ -s "$node_folder/log" ]; then
        echo "--- the node's last words ---" >&2
        tail -n 20 "$node_folder/log" >&2
    fi
    rm -rf "$node_folder"
    exit "$status"
}

# A port below the range the kernel gives to clients, on which nobody answers.
node_free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

node_ready() {
    local status
    { exec 3<>"/dev/tcp/${NODE_HTTP/://}"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
    read -r status <&3 || status=
    # All of the answer, so that the node does not see a client that hangs up.
    cat <&3 >/dev/null || true
    exec 3>&-
    [[ $status == *" 200"* ]]
}
