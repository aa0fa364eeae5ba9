#!/bin/bash
# compose.yml for real: built, started, crashed part by part, compared with an undisturbed run, and taken away again.
#
#     docker/compose-test.sh [FOLDER]     (`make compose-test`)
#
# FOLDER (.build/release) has the programs of `swift build -c release --static-swift-stdlib`: they take the place of the
# Dockerfile's stage `build`, so that nothing is compiled twice. `--full` instead of it builds that stage too.
#
# It takes a container engine that runs; else, as root, it starts one by ../shared/containers/engine.sh, whose stand-ins
# take the base images' places, and stops it at the end; else it is skipped. The project's name is its own, so that a
# stack of yours stays untouched, and every port is a free one of 127.0.0.1.
set -euo pipefail
cd "$(dirname "$0")/.."

binaries=${1:-.build/release}
work=$(mktemp -d "${TMPDIR:-/tmp}/vomma-compose.XXXXXX")
project=vomma-test-$$
export COMPOSE_PROJECT_NAME=$project COMPOSE_FILE=compose.yml:$work/test.yml VOMMA_VERSION=test VOMMA_DATA=$work/data
export COMPOSE_ANSI=never COMPOSE_PROGRESS=quiet DOCKER_BUILDKIT=1
# Less than its default: see “a limit of the environment holds in a container”.
export VOMMA_RPC_MAX_HEADER_BYTES=8192
export COMPOSE_ENV_FILES=/dev/null COMPOSE_DISABLE_ENV_FILE=1
engine=../shared/containers/engine.sh
engine_is_ours=no
services=(market-gateway heston-inverter-service regime-sentiment-service feature-service policy-service
    execution-service trainer)

# ------------------------------------------------------------------------------------------------------ the checklist

checks=0
began=$SECONDS
heading() { printf '\n%s\n' "$*"; }
ok() { checks=$((checks + 1)); printf '  ok  %4d s  %s\n' $((SECONDS - began)) "$*"; }
fail() { printf '  FAILED  %s\n' "$*" >&2; exit 1; }
# check WHAT COMMAND…: the command succeeds.
check() { local what=$1; shift; if "$@" >"$work/out" 2>&1; then ok "$what"; else cat "$work/out" >&2; fail "$what"; fi; }
# refused WHAT REASON COMMAND…: it does not, and says why: a regular expression.
refused() {
    local what=$1 reason=$2
    shift 2
    if "$@" >"$work/out" 2>&1 || ! grep -qE "$reason" "$work/out"; then cat "$work/out" >&2; fail "$what"; else ok "$what"; fi
}
# none WHAT PATTERN FILE: no line fits.
none() { if grep -E "$2" "$3" >&2; then fail "$1"; else ok "$1"; fi; }
# same WHAT FOUND EXPECTED
same() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: “$2”, expected “$3”"; fi; }
# within SECONDS WHAT COMMAND…: it succeeds in the end.
within() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >"$work/out" 2>&1; do
        if [ $SECONDS -ge $end ]; then cat "$work/out" >&2; fail "$what, in vain"; fi
        sleep 0.3
    done
    ok "$what"
}

compose() { timeout 300 docker compose "$@"; }
sql() { timeout 60 docker compose exec -T postgres psql -U vomma -AXtq -v ON_ERROR_STOP=1 "$@"; }
value() { sql -c "$1" 2>/dev/null; }
# A call from inside the network, with the command line's own certificate.
call() { timeout 120 docker exec "$tool" vomma call "$@"; }
containers() { docker ps -aq --filter "label=com.docker.compose.project=$project" "$@"; }
of_service() { containers --filter "label=com.docker.compose.service=$1"; }
# All of the stack's containers (but not the one-shots) are healthy, and as many as they should be.
healthy() { [ "$(containers --filter health=healthy | wc -l)" = "$1" ]; }
# A crash as the engine sees one: `docker kill` would count as a wish of the operator's.
crash() { kill -9 "$(docker inspect -f '{{.State.Pid}}' "$1")"; }

cleanup() {
    local code=$?
    trap - EXIT
    if [ $code != 0 ] && docker info >/dev/null 2>&1; then
        printf '\nWhat the containers said last:\n' >&2
        docker compose ps -a >&2 || true
        docker compose logs --no-color --tail 25 >&2 || true
    fi
    if docker info >/dev/null 2>&1; then
        [ -z "${tool:-}" ] || docker rm -f "$tool" >/dev/null 2>&1 || true
        timeout 120 docker compose --profile tools down -v --remove-orphans -t 2 >/dev/null 2>&1 || true
        docker images --format '{{.Repository}}:{{.Tag}}' --filter "reference=vomma/*:test" | xargs -r docker rmi >/dev/null 2>&1 || true
    fi
    [ $engine_is_ours = no ] || timeout 120 "$engine" stop || true
    rm -rf "$work"
    exit $code
}

# --------------------------------------------------------------------------------------------------------- the engine

pull=missing
find_engine() {
    if docker compose version >/dev/null 2>&1 && timeout 20 docker info >/dev/null 2>&1; then return; fi
    if [ ! -x "$engine" ] || [ "$(id -u)" != 0 ]; then
        echo "compose-test: skipped, for no container engine runs here and none can be started"
        rm -rf "$work"
        exit 0
    fi
    timeout 600 "$engine" install
    eval "$("$engine" env)"
    pull=never
    if ! docker info >/dev/null 2>&1; then
        engine_is_ours=yes
        timeout 120 "$engine" start
    fi
    timeout 900 "$engine" images "$([ "$binaries" = --full ] && echo swift || true)"
}

trap cleanup EXIT
trap 'exit 130' INT TERM
heading "Engine"
find_engine
ok "engine $(docker version -f '{{.Server.Version}}'), compose $(docker compose version --short)"

# --------------------------------------------------------------------------------------------------------- the images

# Free ports instead of the usual ones, and short leases so that a crashed trainer is soon replaced.
mkdir "$work/prebuilt"
{
    echo "services:"
    for name in "${services[@]}" migrate vomma; do
        echo "  $name:"
        case $name in
        trainer) echo '    environment: {VOMMA_LEASE_SECONDS: "2", VOMMA_CHECKPOINT_SECONDS: "1"}' ;;
        migrate | vomma) ;;
        *) sed -n "s/^    ports: \[\"127.0.0.1:\([0-9]*\):.*/\1/p" <(sed -n "/^  $name:/,/^  [a-z]/p" compose.yml) |
            sed 's/.*/    ports: !override ["127.0.0.1::&"]/' ;;
        esac
        if [ "$binaries" != --full ]; then echo "    build: {additional_contexts: {build: $work/prebuilt}}"; fi
    done
} >"$work/test.yml"
heading "Images"
check "compose.yml is valid, alone and with the test's changes" compose config -q
check "without a .env nothing is missing" env -u VOMMA_VERSION -u VOMMA_DATA docker compose -f compose.yml config -q
if [ "$binaries" != --full ]; then
    mkdir "$work/prebuilt/out"
    for name in vomma "${services[@]}"; do strip --strip-debug -o "$work/prebuilt/out/$name" "$binaries/$name"; done
fi
check "images built" timeout 3000 docker compose --progress plain --profile tools build
docker images --format '{{.Repository}} {{.Size}}' --filter "reference=vomma/*:test" | sort | sed 's/^/      /'

# ---------------------------------------------------------------------------------------------------------- the start

heading "First start"
check "up, and everything healthy" compose up -d --wait --wait-timeout 180 --pull $pull --scale trainer=3
same "three trainers, one of each other service, PostgreSQL" "$(containers --filter health=healthy | wc -l)" 10
ids=$(containers --filter health=healthy)
same "nobody is root" "$(docker inspect -f '{{.Config.User}}' $ids | sort -u | paste -sd' ')" "10001:10001 postgres"
same "nobody writes to its image" "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' $ids | sort -u)" true
same "nobody has a capability" "$(docker inspect -f '{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}}' $ids | sort -u)" \
    "[] [ALL]"
same "ports are published on 127.0.0.1 only" \
    "$(docker inspect -f '{{range .NetworkSettings.Ports}}{{range .}}{{println .HostIp}}{{end}}{{end}}' $ids | sort -u |
        paste -sd' ' | tr -d ' ')" 127.0.0.1
{ docker inspect -f '{{json .Config.Env}}' $ids; compose logs --no-color; } >"$work/said" 2>&1
none "no password and no key in an environment or a log"     "[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd] ?[=:]|PRIVATE KEY|://[^/ ]*:[^/ ]*@" "$work/said"
tool=$(docker compose run -d --entrypoint sleep vomma 3600)

# ----------------------------------------------------------------------------------------------- who may talk to whom

heading "Certificates and roles"
docker compose run --rm -T certificates client tester 2>/dev/null | tar -C "$work" -x
policy=$(docker compose port policy-service 50055)
client() { timeout 20 env VOMMA_TLS_AUTHORITY="$work/tester/authority.pem" "$@"; }
vomma=$binaries/vomma
if [ "$binaries" = --full ]; then
    docker cp -q "$tool:/usr/local/bin/vomma" "$work/vomma"
    vomma=$work/vomma
fi
check "a client with a certificate is served at the published port" client VOMMA_TLS_KEY="$work/tester/key.pem" \
    VOMMA_TLS_CERTIFICATE="$work/tester/certificate.pem" "$vomma" status --address "$policy"
refused "one without a certificate is not" "demands a client certificate" client "$vomma" status --address "$policy"
refused "one without TLS is not" "speaks TLS" timeout 20 env -u VOMMA_TLS_AUTHORITY "$vomma" status --address "$policy"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/stranger.key" -days 1 \
    -subj /CN=policy-service -out "$work/stranger.pem" 2>/dev/null
refused "one with a stranger's certificate is not" "TLS" client VOMMA_TLS_KEY="$work/stranger.key" \
    VOMMA_TLS_CERTIFICATE="$work/stranger.pem" "$vomma" status --address "$policy"
refused "no client gets a service's name" "choose another name" docker compose run --rm -T certificates client policy-service
same "each service is connected as its own role" "$(value "SELECT string_agg(DISTINCT usename, ' ' ORDER BY usename)
    FROM pg_stat_activity WHERE client_addr IS NOT NULL")" "vomma_execution_service vomma_feature_service\
 vomma_heston_inverter_service\
 vomma_market_gateway vomma_policy_service vomma_regime_sentiment_service vomma_trainer"
same "over TLS, each with its own certificate" "$(value "SELECT count(*) FILTER (WHERE NOT ssl OR
    replace(split_part(client_dn, '=', 2), '-', '_') <> substr(usename, 7))
    FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE client_addr IS NOT NULL")" 0
same "no role may do everything" "$(value "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'vomma\_%' AND
    (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)")" 0
same "policy-service may not touch orders, execution-service may" "$(value "SELECT
    has_table_privilege('vomma_policy_service', 'orders', 'INSERT'),
    has_table_privilege('vomma_execution_service', 'orders', 'INSERT')")" "f|t"
as_role() { # CERTIFICATE'S CONTAINER, ROLE
    docker run --rm --network "${project}_default" --user 10001:10001 --volumes-from "$1:ro" --pull never \
        -e PGSSLMODE=verify-full -e PGSSLCERT=/run/tls/certificate.pem -e PGSSLKEY=/run/tls/key.pem \
        -e PGSSLROOTCERT=/run/tls/authority.pem postgres:15-bookworm psql -XAtq -h postgres -d vomma -U "$2" -c 'SELECT 1'
}
check "a certificate opens its own role" as_role "$(of_service policy-service)" vomma_policy_service
refused "and no other" "certificate authentication failed" as_role "$(of_service policy-service)" vomma_execution_service
refused "nor the owner's" "certificate authentication failed" as_role "$(of_service policy-service)" vomma
refused "a limit of the environment holds in a container" "headers of more than 8192 bytes" call \
    policy-service:50055 grpc.health.v1.Health/Check '{}' --metadata "x=$(printf '%09000d' 0)"

# ----------------------------------------------------------------------------------------------------- a small market

heading "A market, its models, and a run that nobody disturbs"
start=1767225600
us() { echo $(((start + $1 * 3600) * 1000000)); }
at() { date -u -d "@$((start + $1 * 3600))" +%Y-%m-%dT%H:%M:%SZ; }
text() { python3 -c 'import json, sys; print(json.dumps(sys.stdin.read()))'; }
submit() { # KEY KIND SPECIFICATION → job id
    call trainer:50057 vomma.v1.Trainer/SubmitJob \
        "{\"jobKey\": \"$1\", \"kind\": \"$2\", \"specJson\": $(text <<<"$3")}" >/dev/null
    value "SELECT job_id FROM jobs WHERE job_key = '$1'"
}
job_is() { [ "$(value "SELECT state FROM jobs WHERE job_id = $1")" = "$2" ]; }
promote() { # NAME JOB
    call trainer:50057 vomma.v1.Trainer/PromoteModel \
        "{\"name\": \"$1\", \"version\": $(value "SELECT version FROM models WHERE job_id = $2"), \"unaccepted\": true}"
}
training() { # NAME STEPS
    echo "{\"name\": \"$1\", \"stream\": \"train\", \"exchange\": \"simulation\", \"symbol\": \"ALTUSDT\",
        \"train_from\": \"$(at 0)\", \"train_to\": \"$(at 5)\", \"validate_to\": \"$(at 8)\", \"embargo_minutes\": 30,
        \"seed\": 5, \"total_steps\": $2, \"hidden\": [8], \"window\": 16, \"environments\": 4,
        \"steps_per_environment\": 32, \"minibatch_size\": 64, \"epochs\": 2, \"episode_length\": 64,
        \"validate_every\": 64, \"learning_rate\": 0.01, \"initial_standard_deviation\": 1.0,
        \"account\": {\"capital\": \"1000000\"}}"
}
replay() { # STREAM PACE: half a day, traded from its second hour on
    call market-gateway:50051 vomma.v1.MarketGateway/CreateStream "{\"stream\": \"$1\", \"exchange\": \"simulation\",
        \"symbols\": [\"ALTUSDT\"], \"currencies\": [\"BTC\"], \"fromMicroseconds\": $(us 12),
        \"toMicroseconds\": $(us 24), \"tradedSymbols\": [\"ALTUSDT\"], \"tradeFromMicroseconds\": $(us 13),
        \"paceMicroseconds\": $2, \"accountSettingsJson\": \"{\\\"capital\\\": \\\"3000\\\"}\"}" --timeout 60s
}
finished() {
    call execution-service:50056 vomma.v1.ExecutionService/GetAccount "{\"account\": \"$1\"}" |
        grep -q '"finished": *true'
}
progress() { value "SELECT count(*) FROM features WHERE stream = '$1'"; }

check "a simulated day" call market-gateway:50051 vomma.v1.MarketGateway/Simulate "{\"simulator\": \"SIMULATOR_HESTON\",
    \"seed\": 7, \"exchange\": \"simulation\", \"fromMicroseconds\": $(us 0), \"toMicroseconds\": $(us 24),
    \"chainIntervalMicroseconds\": 3600000000}"
regime=$(submit regime hmm "{\"name\": \"regime\", \"exchange\": \"simulation\", \"symbols\": [\"ALTUSDT\"],
    \"from\": \"$(at 0)\", \"to\": \"$(at 8)\", \"states\": 3, \"restarts\": 1, \"seed\": 1}")
within 60 "a regime model is fitted" job_is "$regime" succeeded
check "and promoted" promote regime "$regime"
check "a stream to train on" call market-gateway:50051 vomma.v1.MarketGateway/CreateStream "{\"stream\": \"train\",
    \"exchange\": \"simulation\", \"symbols\": [\"ALTUSDT\"], \"fromMicroseconds\": $(us 0),
    \"toMicroseconds\": $(us 8)}" --timeout 60s
check "its features" call feature-service:50052 vomma.v1.FeatureService/Compute '{"stream": "train"}'
policy_job=$(submit policy policy.ppo "$(training policy 1024)")
within 90 "a policy is trained" job_is "$policy_job" succeeded
check "and promoted" promote policy "$policy_job"
long=600000
calm_job=$(submit calm policy.ppo "$(training calm $long)")
check "a stream is replayed" replay calm 0
within 120 "and traded to its end" finished calm
within 240 "a longer training ends" job_is "$calm_job" succeeded

# ---------------------------------------------------------------------------------------------------------- the storm

heading "The same, with a crash of every container"
check "the stream again, a bar each 60 ms" replay storm 60000
storm_job=$(submit storm policy.ppo "$(training storm $long)")
crashed=()
crash_next() { # a container of the service: of the trainers the one that has the job
    local id
    if [ "$1" = trainer ]; then
        within 60 "a trainer has saved the job's first checkpoint" eval \
            '[ "$(value "SELECT checkpoint IS NOT NULL FROM jobs WHERE job_id = $storm_job")" = t ]'
        id=$(value "SELECT split_part(lease_owner, '-', 1) FROM jobs WHERE job_id = $storm_job")
    else
        id=$(of_service "$1")
    fi
    crash "$id"
    crashed+=("$id")
}
for name in trainer feature-service heston-inverter-service policy-service execution-service postgres market-gateway \
    regime-sentiment-service; do
    crash_next $name
    ok "$name is killed, at bar $(progress storm || echo "…")"
    sleep 2
done
[ "$(progress storm)" -lt 720 ] || fail "the replay was over before the last crash: nothing was shown"
ok "all this happened in the middle of the replay (bar $(progress storm) of 720)"
within 120 "everything is healthy again" healthy 10
docker inspect -f '{{.RestartCount}}' "${crashed[@]}" >"$work/restarts"
none "the engine started each of them again" '^0$' "$work/restarts"
within 180 "the stream is traded to its end" finished storm
within 300 "the training ends" job_is "$storm_job" succeeded

heading "Nothing lost, nothing doubled"
rows() { sql -v name="$1" -f - <docker/compose-test.sql; }
rows calm >"$work/calm"
rows storm >"$work/storm"
sed 's/^/      /' "$work/calm"
same "720 bars of features, 660 decisions" "$(sed -n 's/^\(features|720\||\?decisions|660\)|.*/\1/p' "$work/calm" |
    paste -sd' ')" "features|720 decisions|660"
check "row by row what the undisturbed run stored" diff "$work/calm" "$work/storm"
same "the training was taken over" "$(value "SELECT attempt >= 2 FROM jobs WHERE job_id = $storm_job")" t
same "and came to the same bits" "$(value "SELECT count(*), count(DISTINCT sha256) FROM models
    WHERE job_id IN ($calm_job, $storm_job)")" "2|1"
check "the ledger is sound (Audit)" call execution-service:50056 vomma.v1.ExecutionService/Audit '{"account": "storm"}'

# -------------------------------------------------------------------------------------------------- an operator's day

heading "Renewal, scaling, down and up"
serial() {
    openssl s_client -connect "$policy" -CAfile "$work/tester/authority.pem" -cert "$work/tester/certificate.pem" \
        -key "$work/tester/key.pem" -alpn h2 </dev/null 2>/dev/null | openssl x509 -noout -serial
}
policy=$(docker compose port policy-service 50055)
before=$(serial)
[ -n "$before" ] || fail "the certificate at the published port can't be seen"
check "certificates renewed" docker compose run --rm -T certificates renew
renewed() { local now; now=$(serial) && [ -n "$now" ] && [ "$now" != "$before" ]; }
within 60 "and served, without a restart" renewed
check "PostgreSQL reads them again" docker compose kill -s HUP postgres
within 30 "everything still talks to everything" docker exec "$tool" vomma status
check "trainers from 3 to 1" compose up -d --wait --wait-timeout 120 --pull never --no-recreate --scale trainer=1
same "one is left" "$(containers --filter health=healthy | wc -l)" 8
docker rm -f "$tool" >/dev/null
tool=
check "down" compose down -t 20
check "up again" compose up -d --wait --wait-timeout 180 --pull never
check "the data are still there" diff "$work/calm" <(rows calm)
check "down -v" compose --profile tools down -v -t 10
left() {
    containers
    docker volume ls -q --filter "label=com.docker.compose.project=$project"
    docker network ls -q --filter "label=com.docker.compose.project=$project"
}
same "nothing is left: no container, no volume, no network" "$(left | wc -l)" 0
printf '\ncompose-test: %d checks passed in %d s\n' $checks $((SECONDS - began))
