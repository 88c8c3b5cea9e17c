# Three nodes of one cluster for scripts: in a temporary folder, on free loopback ports, stopped and
# removed at the end whatever happens. To be sourced after node.bash by a script that runs with
# `set -euo pipefail`.
#
#   cluster_begin BINARIES PARENT   makes the folder in PARENT; chronosdb is in BINARIES
#   cluster_start [FLAG...]         starts the nodes and waits until all of them are ready
#   cluster_stop                    stops them and removes the data
#
# While they run, CLUSTER_PIDS and CLUSTER_HTTP (arrays) and CHRONOS_ADDR say how to reach them.

cluster_begin() {
    cluster_binaries=$1
    cluster_folder=$(mktemp -d "$2/chronosdb.XXXXXX")
    CLUSTER_PIDS=()
    trap cluster_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

cluster_start() {
    local node seeds grpc=() ports=() deadline
    CLUSTER_PIDS=() CLUSTER_HTTP=()
    for node in 1 2 3; do
        ports+=("127.0.0.1:$(node_free_port)")
        grpc+=("127.0.0.1:$(node_free_port)")
        CLUSTER_HTTP+=("127.0.0.1:$(node_free_port)")
    done
    seeds=$(IFS=,; echo "${ports[*]}")
    for node in 1 2 3; do
        "$cluster_binaries/chronosdb" -node-id="node$node" -data-dir="$cluster_folder/node$node" \
            -grpc-addr="${grpc[node - 1]}" -http-addr="${CLUSTER_HTTP[node - 1]}" \
            -cluster -cluster-grpc-addr="${ports[node - 1]}" -cluster-seeds="$seeds" "$@" \
            >>"$cluster_folder/node$node.log" 2>&1 &
        CLUSTER_PIDS+=($!)
    done
    CHRONOS_ADDR=$(IFS=,; echo "${grpc[*]}")
    export CHRONOS_ADDR

    deadline=$((SECONDS + 60))
    for node in 1 2 3; do
        NODE_HTTP=${CLUSTER_HTTP[node - 1]}
        until node_ready; do
            if ! kill -0 "${CLUSTER_PIDS[node - 1]}" 2>/dev/null; then
                echo "node$node stopped before it was ready" >&2
                exit 1
            fi
            if [ "$SECONDS" -ge "$deadline" ]; then
                echo "node$node is not ready after 60 s" >&2
                exit 1
            fi
            sleep 0.02
        done
    done
}

cluster_stop() {
    local pid
    for pid in "${CLUSTER_PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${CLUSTER_PIDS[@]}"; do wait "$pid" || true; done
    CLUSTER_PIDS=()
    rm -rf "$cluster_folder"/node*/
}

cluster_end() {
    local status=$? node
    cluster_stop
    if [ "$status" -ne 0 ] && [ "$status" -ne 130 ]; then
        for node in 1 2 3; do
            [ -s "$cluster_folder/node$node.log" ] || continue
            echo "--- the last words of node$node ---" >&2
            tail -n 10 "$cluster_folder/node$node.log" >&2
        done
    fi
    rm -rf "$cluster_folder"
    exit "$status"
}
