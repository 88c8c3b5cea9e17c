# What benchmarks have in common: running loads, reading their figures, the table. To be sourced by a
# script that runs with `set -euo pipefail`, and which defines `table`.
#
#   bench_begin FOLDER QUICK ROUNDS   results go to FOLDER; QUICK is empty for a full run
#   machine FOLDER                    prints and keeps what machine this is, with FOLDER's disk
#   load NAME ARGUMENT...             runs `chronosctl load`, with $binaries and $round of the script
#   line …                            a line of the table
#   conclude                          prints the table; fails if a run was void

bench_begin() {
    results=$1 quick=$2 rounds=$3
    rm -rf "$results"
    mkdir -p "$results"
    failed=()
}

machine() {
    {
        echo "machine: $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
            "$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo), Linux $(uname -r)," \
            "$(stat --file-system --format=%T "$1"), load $(cut -d ' ' -f 1-3 /proc/loadavg) at the beginning"
        [ -z "$quick" ] || echo "a quick run: the figures say little"
    } | tee "$results/machine.txt"
}

conclude() {
    echo
    table | tee "$results/table.md"
    if [ ${#failed[@]} -gt 0 ]; then
        echo "void: ${failed[*]}" >&2
        exit 1
    fi
}

# The first argument, or the second in a quick run.
count() {
    if [ -n "$quick" ]; then echo "$2"; else echo "$1"; fi
}

# Keeps a figure that this script measured itself.
keep() {
    echo "{\"$2\":$3}" >"$results/$1.$round.json"
}

# Processor time of a process, in ticks.
cpu_ticks() {
    # The name of the program, in parentheses, may hold spaces: fields count from behind it.
    sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

# Runs one load against the server and keeps its result as $results/NAME.ROUND.json.
load() {
    local name=$1 file="$results/$1.$round.json"
    shift
    echo "\$ chronosctl load $*"
    "$binaries/chronosctl" load "$@" -o json >"$file" || failed+=("$name")
    tell "$file"
}

# The main figures of a result, those it has.
tell() {
    local path name value
    while read -r path name; do
        value=$(figure "$1" "$path")
        [ -z "$value" ] || printf '%14.2f  %s\n' "$value" "$name"
    done <<'END'
publish.rate.per_second events published per second
publish.latency.p50_us µs publish latency p50
publish.latency.p99_us µs publish latency p99
life.per_second whole lives per second
delivery.rate.per_second events delivered per second
delivery.lateness.p50_us µs lateness p50
delivery.lateness.p99_us µs lateness p99
delivery.lateness.p99_9_us µs lateness p99.9
delivery.lateness.max_us µs lateness at most
herd.first_us µs from due to the first of the herd
herd.last_us µs from due to the last of the herd
memory.resident_bytes_per_event B of memory per pending event
usage.server_cpu_us_per_event µs of the node's processor time per event
usage.client_cpu_us_per_event µs of the client's processor time per event
written_beyond_own_bytes_per_event B written per event beyond its own
usage.fsyncs_per_second fsyncs per second
usage.fsync_mean_us µs per fsync
cancel_per_second cancelled per second, one by one
cancel_matching_per_second cancelled per second, by a filter
first_page_p50_ms ms for the first page, median
first_page_max_ms ms for the first page, at most
END
}

# The value at a dotted path of a JSON file, or nothing.
figure() {
    [ -s "$1" ] || return 0
    awk -v wanted="$2" '
        { text = text $0 }
        END {
            while (match(text, /"([^"\\]|\\.)*"|[-+.0-9eE]+|true|false|null|[][{}:,]/)) {
                token = substr(text, RSTART, RLENGTH)
                text = substr(text, RSTART + RLENGTH)
                if (token == "{" || token == "[") {
                    prefix[++depth] = path
                    array[depth] = token == "["
                    position[depth] = 0
                    if (array[depth]) path = prefix[depth] ".0"
                } else if (token == "}" || token == "]") {
                    path = prefix[depth--]
                } else if (token == ",") {
                    if (array[depth]) path = prefix[depth] "." ++position[depth]
                    else path = prefix[depth]
                } else if (token == ":") {
                    path = prefix[depth] "." key
                } else {
                    key = substr(token, 2, length(token) - 2)
                    if (path == "." wanted && token != "null") { print token; exit }
                }
            }
        }' "$1"
}

# Median, minimum and maximum over the rounds: "MEDIAN MIN MAX", or nothing when none was measured.
over_rounds() {
    local file
    for file in "$results/$1".*.json; do
        [ -e "$file" ] || continue
        figure "$file" "$2"
    done | sort -g | awk '
        { value[NR] = $1 }
        END { if (NR) print (value[int((NR + 1) / 2)] + value[int((NR + 2) / 2)]) / 2, value[1], value[NR] }'
}

# line FIGURE MUST AIM RUN PATH DIVISOR DECIMALS UNIT: one line of the table, when it was measured.
# MUST and AIM begin with < or >, for at most or at least.
line() {
    local name=$1 must=$2 aim=$3 values
    values=$(over_rounds "$4" "$5")
    [ -n "$values" ] || return 0
    echo "$values" | awk -v name="$name" -v must="$must" -v aim="$aim" -v divisor="$6" \
        -v decimals="$7" -v unit="$8" -v rounds="$rounds" '
        function shown(value) { return sprintf("%." decimals "f", value / divisor) }
        function met(bound, value) {
            return substr(bound, 1, 1) == ">" ? value >= substr(bound, 2) + 0 : value <= substr(bound, 2) + 0
        }
        {
            text = shown($1) " " unit
            if (rounds > 1) text = text " (" shown($2) "–" shown($3) ")"
            verdict = met(aim, $1 / divisor) ? "aim" : met(must, $1 / divisor) ? "must" : "MISSED"
            printf "| %s | %s %s | %s %s | %s | %s |\n", name, bound(must), unit, bound(aim), unit, text, verdict
        }
        function bound(text) { return (substr(text, 1, 1) == ">" ? "≥ " : "≤ ") substr(text, 2) }'
}
