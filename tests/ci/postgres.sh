# The job store keeps its contract on a real PostgreSQL, which this script installs if need be, starts and stops.
#
# With BACKSIGHT_POSTGRES_BIN another server's programs are used, for example /usr/lib/postgresql/17/bin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

find_initdb() {
    local found
    for found in "${BACKSIGHT_POSTGRES_BIN:-/nowhere}"/initdb /usr/lib/postgresql/*/bin/initdb; do
        [ ! -x "$found" ] || printf '%s\n' "$found"
    done | if [ -n "${BACKSIGHT_POSTGRES_BIN:-}" ]; then head -n 1; else sort -V | tail -n 1; fi
}

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)

if [ -z "$(find_initdb)" ] && ! command -v initdb >/dev/null; then
    echo "installing PostgreSQL"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # The package would start a cluster of its own; ours is elsewhere.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
fi
initdb=$(find_initdb)
bin=$(dirname "${initdb:-$(readlink -f "$(command -v initdb)")}")

# The server refuses to run as root.
as_server=()
if [ "$(id -u)" -eq 0 ]; then
    for user in postgres nobody; do
        ! id -u "$user" >/dev/null 2>&1 || break
    done
    as_server=(runuser -u "$user" --)
fi

# Short: the path of a socket has at most 107 characters.
folder=$(mktemp -d /tmp/backsight-pg.XXXXXX)
finish() {
    local code=$?
    if [ -e "$folder/data/postmaster.pid" ]; then
        "${as_server[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null || true
    fi
    if [ "$code" -ne 0 ] && [ -e "$folder/server.log" ]; then
        echo "== the last lines of the server's log"
        tail -n 40 "$folder/server.log"
    fi
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

password="p@ss:w/ord%$RANDOM$RANDOM"
encoded=${password//%/%25}
encoded=${encoded//@/%40}
encoded=${encoded//:/%3A}
encoded=${encoded//\//%2F}
printf '%s\n' "$password" >"$folder/password"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
    -addext basicConstraints=critical,CA:FALSE -keyout "$folder/server.key" -out "$folder/server.crt" 2>/dev/null
chmod 600 "$folder/server.key"
if [ "${#as_server[@]}" -gt 0 ]; then
    chown -R "$user" "$folder"
fi
(
    # From a folder that the server's user may enter.
    cd /
    "${as_server[@]}" "$bin/initdb" -D "$folder/data" -U backsight --pwfile="$folder/password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >"$folder/initdb.log" || {
        cat "$folder/initdb.log"
        exit 1
    }
)
port=$("${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(
    cd /
    "${as_server[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -t 60 \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c max_connections=400 -c ssl=on -c ssl_cert_file=$folder/server.crt -c ssl_key_file=$folder/server.key" start >/dev/null
)
export PGPASSWORD="$password"
sql() {
    "$bin/psql" -h 127.0.0.1 -p "$port" -U backsight -d postgres -q -v ON_ERROR_STOP=1 -c "$1"
}
# An order of texts in which capitals do not come first, as many databases have it, where the server knows one.
sql "CREATE DATABASE jobs TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" 2>/dev/null || sql "CREATE DATABASE jobs"
unset PGPASSWORD

# In the check before a merge the whole workspace was built with its set of features; nothing is built twice.
scope=(-p backsight-scheduler)
[ -z "${BACKSIGHT:-}" ] || scope=(--workspace)

# Tests skip themselves without a server; here those that need one have to have run.
run() {
    local output
    output=$(cargo test "${scope[@]}" --lib "$@" 2>&1) || {
        printf '%s\n' "$output"
        return 1
    }
    printf '%s\n' "$output" | grep -E 'store tests run on|^test result: .* [1-9][0-9]* passed'
    if [[ $output == *SKIPPED* || $output != *'store tests run on PostgreSQL'* ]] \
        || [[ $output != *'store::postgres_tests::server::one_holder_per_term ... ok'* ]]; then
        printf '%s\n' "$output" 'the tests on PostgreSQL did not run'
        return 1
    fi
}

export BACKSIGHT_TEST_POSTGRES="postgres://backsight:$encoded@127.0.0.1:$port/jobs"
run store::
# The same over the server's socket, with the password where libpq looks for it.
export BACKSIGHT_TEST_POSTGRES="postgres:///jobs?host=$folder&port=$port&user=backsight"
PGPASSWORD="$password" run store::postgres_tests::server::
# And with the server's certificate checked; that TLS is used without being asked for is the default above.
export BACKSIGHT_TEST_POSTGRES="postgres://backsight:$encoded@127.0.0.1:$port/jobs?sslmode=verify-full&sslrootcert=$folder/server.crt"
run store::postgres_tests::server::
