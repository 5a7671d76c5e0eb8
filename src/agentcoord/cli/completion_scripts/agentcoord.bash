_agentcoord_words() {
    case "$1" in
        "") echo "help init config doctor adopt run rehearse load wait demo add status tasks workers costs stats locks task diff blame logs dashboard report review commit completions schema spawn retry cancel answer land accept undo reject cleanup plan ctl --project --version --help" ;;
        "help") echo "help init config doctor adopt run rehearse load wait demo add status tasks workers costs stats locks task diff blame logs dashboard report review commit completions schema spawn retry cancel answer land accept undo reject cleanup plan ctl --help" ;;
        "help plan") echo "draft check --help" ;;
        "help ctl") echo "cleanup kill pause resume drain --help" ;;
        "init") echo "--print --json --help" ;;
        "config") echo "--json --help" ;;
        "doctor") echo "--fix --online --json --help" ;;
        "adopt") echo "" ;;
        "run") echo "" ;;
        "rehearse") echo "" ;;
        "load") echo "" ;;
        "wait") echo "--timeout --json --help" ;;
        "demo") echo "--dir --keep --speed --allow-root --help" ;;
        "add") echo "" ;;
        "status") echo "--json --help" ;;
        "tasks") echo "--dead --json --help" ;;
        "workers") echo "--json --help" ;;
        "costs") echo "--json --help" ;;
        "stats") echo "--json --help" ;;
        "locks") echo "--json --help" ;;
        "task") echo "" ;;
        "diff") echo "" ;;
        "blame") echo "" ;;
        "logs") echo "--follow --lines --task --worker --json --help" ;;
        "dashboard") echo "" ;;
        "report") echo "--html --md --json --open --help" ;;
        "review") echo "--plain --help" ;;
        "commit") echo "" ;;
        "completions") echo "" ;;
        "schema") echo "" ;;
        "spawn") echo "--role --json --help" ;;
        "retry") echo "" ;;
        "cancel") echo "" ;;
        "answer") echo "" ;;
        "land") echo "" ;;
        "accept") echo "" ;;
        "undo") echo "" ;;
        "reject") echo "" ;;
        "cleanup") echo "--all --json --help" ;;
        "plan") echo "draft check --help" ;;
        "plan draft") echo "" ;;
        "plan check") echo "" ;;
        "ctl") echo "cleanup kill pause resume drain --help" ;;
        "ctl cleanup") echo "--all --json --help" ;;
        "ctl kill") echo "" ;;
        "ctl pause") echo "--json --help" ;;
        "ctl resume") echo "--json --help" ;;
        "ctl drain") echo "--json --help" ;;
    esac
}
_agentcoord_options() {
    case "$1" in
        "") echo "--project --version --help" ;;
        "help") echo "--help" ;;
        "help plan") echo "--help" ;;
        "help ctl") echo "--help" ;;
        "init") echo "--print --json --help" ;;
        "config") echo "--json --help" ;;
        "doctor") echo "--fix --online --json --help" ;;
        "adopt") echo "--yes --json --help" ;;
        "run") echo "--detach --allow-root --unsafe-no-sandbox --external-sandbox --base-url --run-usd --no-supervisor --json --help" ;;
        "rehearse") echo "--scripts --latency --detach --allow-root --unsafe-no-sandbox --external-sandbox --json --help" ;;
        "load") echo "--json --help" ;;
        "wait") echo "--timeout --json --help" ;;
        "demo") echo "--dir --keep --speed --allow-root --help" ;;
        "add") echo "--id --description --priority --tag --need --writes --check --budget-usd --budget-tokens --json --help" ;;
        "status") echo "--json --help" ;;
        "tasks") echo "--dead --json --help" ;;
        "workers") echo "--json --help" ;;
        "costs") echo "--json --help" ;;
        "stats") echo "--json --help" ;;
        "locks") echo "--json --help" ;;
        "task") echo "--json --help" ;;
        "diff") echo "--json --help" ;;
        "blame") echo "--json --help" ;;
        "logs") echo "--follow --lines --task --worker --json --help" ;;
        "dashboard") echo "--replay --read-only --json --help" ;;
        "report") echo "--html --md --json --open --help" ;;
        "review") echo "--plain --help" ;;
        "commit") echo "--dry-run --json --help" ;;
        "completions") echo "--help" ;;
        "schema") echo "--help" ;;
        "spawn") echo "--role --json --help" ;;
        "retry") echo "--json --help" ;;
        "cancel") echo "--why --json --help" ;;
        "answer") echo "--json --help" ;;
        "land") echo "--json --help" ;;
        "accept") echo "--all --json --help" ;;
        "undo") echo "--all --yes --json --help" ;;
        "reject") echo "--reason --despite --json --help" ;;
        "cleanup") echo "--all --json --help" ;;
        "plan") echo "--help" ;;
        "plan draft") echo "--out --json --help" ;;
        "plan check") echo "--json --help" ;;
        "ctl") echo "--help" ;;
        "ctl cleanup") echo "--all --json --help" ;;
        "ctl kill") echo "--all --json --help" ;;
        "ctl pause") echo "--json --help" ;;
        "ctl resume") echo "--json --help" ;;
        "ctl drain") echo "--json --help" ;;
    esac
}
_agentcoord_wanted() {
    case "$1" in
        "add --need") echo "@tasks" ;;
        "task "0) echo "@tasks" ;;
        "diff "0) echo "@tasks" ;;
        "logs --task") echo "@tasks" ;;
        "logs --worker") echo "@workers" ;;
        "commit "*) echo "@tasks" ;;
        "completions "0) echo "bash zsh fish" ;;
        "schema "0) echo "agentcoord.status agentcoord.tasks agentcoord.workers agentcoord.locks agentcoord.costs agentcoord.stats agentcoordd.status agentcoord.task agentcoord.diff agentcoord.blame agentcoord.load agentcoord.add agentcoord.wait agentcoord.run agentcoord.rehearse agentcoord.plan.check agentcoord.plan.draft agentcoord.spawn agentcoord.kill agentcoord.retry agentcoord.cancel agentcoord.land agentcoord.answer agentcoord.reject agentcoord.undo agentcoord.accept agentcoord.report agentcoord.commit agentcoord.nights agentcoord.pause agentcoord.resume agentcoord.drain agentcoord.cleanup agentcoord.init agentcoord.config agentcoord.adopt agentcoord.doctor agentcoordd.start agentcoordd.status-all agentcoord.logs agentcoordd.logs agentcoord.toml plan.toml" ;;
        "spawn --role") echo "testing-engineer backend-engineer platform-engineer architect" ;;
        "retry "0) echo "@tasks" ;;
        "cancel "0) echo "@tasks" ;;
        "answer "0) echo "@tasks" ;;
        "land "0) echo "@tasks" ;;
        "accept "0) echo "@tasks" ;;
        "undo "0) echo "@tasks" ;;
        "reject --despite") echo "@tasks" ;;
        "reject "0) echo "@tasks" ;;
        "ctl kill "0) echo "@workers" ;;
        *) ;;
    esac
}
_agentcoord_complete() {
    local current="${COMP_WORDS[COMP_CWORD]}" place="" folder="" asked="" at=0 word number offered
    [ "$current" = "=" ] && current=""
    for ((number = 1; number < COMP_CWORD; number++)); do
        word="${COMP_WORDS[number]}"
        case "$word" in
            -*) case " --base-url --budget-tokens --budget-usd --check --description --despite --dir --id --latency --lines --need --out --priority --project --reason --role --run-usd --scripts --speed --tag --task --timeout --why --worker --writes -C -n -o " in
                    *" $word "*)
                        number=$((number + 1))
                        if [ "$number" -lt "$COMP_CWORD" ] && [ "${COMP_WORDS[number]}" = "=" ]; then
                            number=$((number + 1))
                        fi
                        if [ "$number" -ge "$COMP_CWORD" ]; then
                            asked="$word"
                        else
                            case "$word" in
                                -C | --project) folder="${COMP_WORDS[number]/#\~/$HOME}" ;;
                            esac
                        fi ;;
                esac ;;
            *) if [ -z "$place" ]; then
                   place="$word"
               else
                   case "|ctl|help|help ctl|help plan|plan|" in
                       *"|$place|"*) place="$place $word" ;;
                       *) at=$((at + 1)) ;;
                   esac
               fi ;;
        esac
    done
    if [ -n "$asked" ]; then
        offered="$(_agentcoord_wanted "$place $asked")"
    else
        case "$current" in
            -*) offered="$(_agentcoord_options "$place")" ;;
            *) offered="$(_agentcoord_words "$place")"
               [ -n "$offered" ] || offered="$(_agentcoord_wanted "$place $at")" ;;
        esac
    fi
    case "$offered" in
        @*) offered="$(command agentcoord -C "${folder:-.}" completions --names "${offered#@}" \
                "${AGENTCOORD_COMPLETION_MS:-100}" 2>/dev/null)" ;;
    esac
    COMPREPLY=($(compgen -W "$offered" -- "$current"))
}
complete -o default -F _agentcoord_complete agentcoord

_agentcoordd_words() {
    case "$1" in
        "") echo "start run stop restart status logs help install-service uninstall-service reload --project --version --help" ;;
        "start") echo "--allow-root --unsafe-no-sandbox --external-sandbox --rehearse --rehearsal-latency --base-url --run-usd --supervised --json --help" ;;
        "run") echo "--allow-root --unsafe-no-sandbox --external-sandbox --rehearse --rehearsal-latency --base-url --run-usd --help" ;;
        "stop") echo "--now --help" ;;
        "restart") echo "--now --allow-root --json --help" ;;
        "status") echo "--all --json --help" ;;
        "logs") echo "--follow --lines --json --help" ;;
        "help") echo "start run stop restart status logs help install-service uninstall-service reload --help" ;;
        "install-service") echo "--now --print --allow-root --help" ;;
        "uninstall-service") echo "--help" ;;
        "reload") echo "--allow-root --help" ;;
    esac
}
_agentcoordd_options() {
    case "$1" in
        "") echo "--project --version --help" ;;
        "start") echo "--allow-root --unsafe-no-sandbox --external-sandbox --rehearse --rehearsal-latency --base-url --run-usd --supervised --json --help" ;;
        "run") echo "--allow-root --unsafe-no-sandbox --external-sandbox --rehearse --rehearsal-latency --base-url --run-usd --help" ;;
        "stop") echo "--now --help" ;;
        "restart") echo "--now --allow-root --json --help" ;;
        "status") echo "--all --json --help" ;;
        "logs") echo "--follow --lines --json --help" ;;
        "help") echo "--help" ;;
        "install-service") echo "--now --print --allow-root --help" ;;
        "uninstall-service") echo "--help" ;;
        "reload") echo "--allow-root --help" ;;
    esac
}
_agentcoordd_wanted() {
    case "$1" in

        *) ;;
    esac
}
_agentcoordd_complete() {
    local current="${COMP_WORDS[COMP_CWORD]}" place="" folder="" asked="" at=0 word number offered
    [ "$current" = "=" ] && current=""
    for ((number = 1; number < COMP_CWORD; number++)); do
        word="${COMP_WORDS[number]}"
        case "$word" in
            -*) case " --base-url --lines --project --rehearsal-latency --rehearse --run-usd -C -n " in
                    *" $word "*)
                        number=$((number + 1))
                        if [ "$number" -lt "$COMP_CWORD" ] && [ "${COMP_WORDS[number]}" = "=" ]; then
                            number=$((number + 1))
                        fi
                        if [ "$number" -ge "$COMP_CWORD" ]; then
                            asked="$word"
                        else
                            case "$word" in
                                -C | --project) folder="${COMP_WORDS[number]/#\~/$HOME}" ;;
                            esac
                        fi ;;
                esac ;;
            *) if [ -z "$place" ]; then
                   place="$word"
               else
                   case "|help|" in
                       *"|$place|"*) place="$place $word" ;;
                       *) at=$((at + 1)) ;;
                   esac
               fi ;;
        esac
    done
    if [ -n "$asked" ]; then
        offered="$(_agentcoordd_wanted "$place $asked")"
    else
        case "$current" in
            -*) offered="$(_agentcoordd_options "$place")" ;;
            *) offered="$(_agentcoordd_words "$place")"
               [ -n "$offered" ] || offered="$(_agentcoordd_wanted "$place $at")" ;;
        esac
    fi
    case "$offered" in
        @*) offered="$(command agentcoordd -C "${folder:-.}" completions --names "${offered#@}" \
                "${AGENTCOORD_COMPLETION_MS:-100}" 2>/dev/null)" ;;
    esac
    COMPREPLY=($(compgen -W "$offered" -- "$current"))
}
complete -o default -F _agentcoordd_complete agentcoordd
