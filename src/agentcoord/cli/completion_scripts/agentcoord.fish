function __agentcoord_at
    set -l path
    set -l at 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --base-url --budget-tokens --budget-usd --check --description --despite --dir --id --latency --lines --need --out --priority --project --reason --role --run-usd --scripts --speed --tag --task --timeout --why --worker --writes -C -n -o
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if test -z "$path"
            set path $word
        else if contains -- $path 'ctl' 'help' 'help ctl' 'help plan' 'plan'
            set path "$path $word"
        else
            set at (math $at + 1)
        end
    end
    test "$path" = "$argv[1]"; and begin
        test $argv[2] = any; or test $argv[2] = $at
    end
end
function __agentcoord_names
    set -l folder .
    set -l words (commandline -opc)
    for number in (seq 2 (count $words))
        if contains -- $words[$number] -C --project
            set folder $words[(math $number + 1)]
        end
    end
    set -q AGENTCOORD_COMPLETION_MS; or set -l AGENTCOORD_COMPLETION_MS 100
    command agentcoord -C $folder completions --names $argv[1] $AGENTCOORD_COMPLETION_MS 2>/dev/null
end
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a help -d 'Show the help of a command.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a init -d 'Write a commented agentcoord.toml.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a config -d 'Print every setting, and where it came from.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a doctor -d 'Look whether everything for a night is there.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a adopt -d 'Take tasks, journal and transcripts along after the...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a run -d 'Run a plan to its end, and sum up.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a rehearse -d 'Run a plan with a scripted model; nothing is paid.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a load -d 'Load a plan into the running daemon.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a wait -d 'Wait until every task has ended, and sum up.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a demo -d 'Play a scripted night on a small bundled project.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a add -d 'Add one task to those that are loaded.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a status -d 'Show where the run stands, and what needs you.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a tasks -d 'List the tasks: state, cost, why not running.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a workers -d 'List the workers and what each is doing.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a costs -d 'Show what was spent, by model and by task.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a stats -d 'Show what this run did: throughput, turns, checks,...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a locks -d 'List the files that tasks hold, and who waits for them.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a task -d 'Show all that is known of one task.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a diff -d 'Print what one task changed, as a unified diff.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a blame -d 'Show which task wrote which line of a file; `-`: no task...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a logs -d 'Print the events of the run: what the workers did.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a dashboard -d 'Watch workers, tasks, events and money live.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a report -d 'Sum up the night: what landed, what failed and why, what...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a review -d 'Walk through what landed, riskiest first: accept, reject...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a commit -d 'Commit what tasks landed: one commit a task, under your...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a completions -d 'Print the completion script of a shell, for both programs.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a schema -d 'Print the JSON Schema of the documents that `--json`...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a spawn -d 'Add workers to the running fleet.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a retry -d 'Queue a failed, cancelled or parked task again.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a cancel -d 'End a task; nothing of it lands.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a answer -d 'Answer the question that a task has asked.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a land -d 'Let a flagged change land that waits for you.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a accept -d 'Mark a done task as reviewed and good.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a undo -d 'Take one task\'s changes back, and only those.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a reject -d 'Take one task\'s changes back, and have the same task done...'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a cleanup -d 'Release what ended tasks left behind.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a plan -d 'Have a plan proposed, and judge one before it is loaded.'
complete -c agentcoord -n '__agentcoord_at "" 0' -f -a ctl -d 'Steer the running daemon: kill, pause, resume, drain.'
complete -c agentcoord -n '__agentcoord_at "" any' -l project -d 'The repository, instead of the working directory.' -r
complete -c agentcoord -n '__agentcoord_at "" any' -l version -d 'Print the version.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a help -d 'Show the help of a command.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a init -d 'Write a commented agentcoord.toml.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a config -d 'Print every setting, and where it came from.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a doctor -d 'Look whether everything for a night is there.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a adopt -d 'Take tasks, journal and transcripts along after the...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a run -d 'Run a plan to its end, and sum up.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a rehearse -d 'Run a plan with a scripted model; nothing is paid.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a load -d 'Load a plan into the running daemon.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a wait -d 'Wait until every task has ended, and sum up.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a demo -d 'Play a scripted night on a small bundled project.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a add -d 'Add one task to those that are loaded.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a status -d 'Show where the run stands, and what needs you.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a tasks -d 'List the tasks: state, cost, why not running.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a workers -d 'List the workers and what each is doing.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a costs -d 'Show what was spent, by model and by task.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a stats -d 'Show what this run did: throughput, turns, checks,...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a locks -d 'List the files that tasks hold, and who waits for them.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a task -d 'Show all that is known of one task.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a diff -d 'Print what one task changed, as a unified diff.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a blame -d 'Show which task wrote which line of a file; `-`: no task...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a logs -d 'Print the events of the run: what the workers did.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a dashboard -d 'Watch workers, tasks, events and money live.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a report -d 'Sum up the night: what landed, what failed and why, what...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a review -d 'Walk through what landed, riskiest first: accept, reject...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a commit -d 'Commit what tasks landed: one commit a task, under your...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a completions -d 'Print the completion script of a shell, for both programs.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a schema -d 'Print the JSON Schema of the documents that `--json`...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a spawn -d 'Add workers to the running fleet.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a retry -d 'Queue a failed, cancelled or parked task again.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a cancel -d 'End a task; nothing of it lands.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a answer -d 'Answer the question that a task has asked.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a land -d 'Let a flagged change land that waits for you.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a accept -d 'Mark a done task as reviewed and good.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a undo -d 'Take one task\'s changes back, and only those.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a reject -d 'Take one task\'s changes back, and have the same task done...'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a cleanup -d 'Release what ended tasks left behind.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a plan -d 'Have a plan proposed, and judge one before it is loaded.'
complete -c agentcoord -n '__agentcoord_at "help" 0' -f -a ctl -d 'Steer the running daemon: kill, pause, resume, drain.'
complete -c agentcoord -n '__agentcoord_at "help plan" 0' -f -a draft -d 'Have a model propose a plan, as a file that you edit.'
complete -c agentcoord -n '__agentcoord_at "help plan" 0' -f -a check -d 'Judge a plan without loading it.'
complete -c agentcoord -n '__agentcoord_at "help ctl" 0' -f -a cleanup -d 'As `agentcoord cleanup`.'
complete -c agentcoord -n '__agentcoord_at "help ctl" 0' -f -a kill -d 'Stop workers now; their tasks go back to the queue.'
complete -c agentcoord -n '__agentcoord_at "help ctl" 0' -f -a pause -d 'Begin nothing new; what runs goes on.'
complete -c agentcoord -n '__agentcoord_at "help ctl" 0' -f -a resume -d 'Begin tasks again after a pause.'
complete -c agentcoord -n '__agentcoord_at "help ctl" 0' -f -a drain -d 'Begin nothing new, and stop the daemon when the running...'
complete -c agentcoord -n '__agentcoord_at "init" any' -l print -d 'Print the file, or with --json the guesses; write nothing.'
complete -c agentcoord -n '__agentcoord_at "init" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "config" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "doctor" any' -l fix -d 'Mend what is safe to mend: say it, do it, look again.'
complete -c agentcoord -n '__agentcoord_at "doctor" any' -l online -d 'Also ask the model\'s server, with one request of a few tokens.'
complete -c agentcoord -n '__agentcoord_at "doctor" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "adopt" any' -l yes -d 'Even if the disk of the former place may be away.'
complete -c agentcoord -n '__agentcoord_at "adopt" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "run" any' -l detach -d 'Return when the plan is loaded; the daemon works on.'
complete -c agentcoord -n '__agentcoord_at "run" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoord -n '__agentcoord_at "run" any' -l unsafe-no-sandbox -d 'Run the workers\' commands without a sandbox, until the daemon is stopped.'
complete -c agentcoord -n '__agentcoord_at "run" any' -l external-sandbox -d 'You vouch for it: all this runs in a container or virtual machine, which is the sandbox.'
complete -c agentcoord -n '__agentcoord_at "run" any' -l base-url -d 'A server that speaks the Messages API.' -r
complete -c agentcoord -n '__agentcoord_at "run" any' -l run-usd -d 'The cap of this run; overrides budget.run_usd.' -r
complete -c agentcoord -n '__agentcoord_at "run" any' -l no-supervisor -d 'Start the daemon alone: nothing starts it again if it dies.'
complete -c agentcoord -n '__agentcoord_at "run" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l scripts -d 'The rehearsal\'s script files.' -r
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l latency -d 'Scale of the scripts\' thinking times.' -r
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l detach -d 'Return when the plan is loaded; the daemon works on.'
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l unsafe-no-sandbox -d 'Run the workers\' commands without a sandbox, until the daemon is stopped.'
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l external-sandbox -d 'You vouch for it: all this runs in a container or virtual machine, which is the sandbox.'
complete -c agentcoord -n '__agentcoord_at "rehearse" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "load" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "wait" any' -l timeout -d 'Give up after so many seconds (exit 6).' -r
complete -c agentcoord -n '__agentcoord_at "wait" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "demo" any' -l dir -d 'A new folder for the demo\'s project.' -r
complete -c agentcoord -n '__agentcoord_at "demo" any' -l keep -d 'Leave the daemon running at the end.'
complete -c agentcoord -n '__agentcoord_at "demo" any' -l speed -d 'How fast the script thinks.' -r
complete -c agentcoord -n '__agentcoord_at "demo" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoord -n '__agentcoord_at "add" any' -l id -d 'Made of the title unless given.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l description -d 'What and why, for the worker.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l priority -d '5 critical ... 1 idle.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l tag -d 'Who may take it; may be repeated.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l need -d 'A task to be done first; may be repeated.' -x -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "add" any' -l writes -d 'Files it expects to write; may be repeated.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l check -d 'Must exit 0, beside the project\'s checks.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l budget-usd -d 'The task\'s own cap.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l budget-tokens -d 'The same in tokens of all kinds.' -r
complete -c agentcoord -n '__agentcoord_at "add" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "status" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "tasks" any' -l dead -d 'Those that failed, with how each attempt ended; newest first.'
complete -c agentcoord -n '__agentcoord_at "tasks" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "workers" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "costs" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "stats" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "locks" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "task" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "task" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "diff" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "diff" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "blame" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "logs" any' -l follow -d 'Go on printing what happens.'
complete -c agentcoord -n '__agentcoord_at "logs" any' -l lines -d 'How many to begin with.' -r
complete -c agentcoord -n '__agentcoord_at "logs" any' -l task -d 'Of this task alone.' -x -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "logs" any' -l worker -d 'Of this worker alone.' -x -a '(__agentcoord_names workers)'
complete -c agentcoord -n '__agentcoord_at "logs" any' -l json -d 'Print one JSON object a line.'
complete -c agentcoord -n '__agentcoord_at "dashboard" any' -l replay -d 'Play a past night. Needs no daemon, and changes nothing.'
complete -c agentcoord -n '__agentcoord_at "dashboard" any' -l read-only -d 'Look on only: every key that acts says why it does not.'
complete -c agentcoord -n '__agentcoord_at "dashboard" any' -l json -d 'With --replay and no RUN: print the list as one JSON document.'
complete -c agentcoord -n '__agentcoord_at "report" any' -l html -d 'One self-contained page; on a terminal it goes into a file.'
complete -c agentcoord -n '__agentcoord_at "report" any' -l md -d 'Markdown.'
complete -c agentcoord -n '__agentcoord_at "report" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "report" any' -l open -d 'Write the page, and show it in a browser.'
complete -c agentcoord -n '__agentcoord_at "review" any' -l plain -d 'Prompts on lines, also in a terminal.'
complete -c agentcoord -n '__agentcoord_at "commit" any' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "commit" any' -l dry-run -d 'Show messages and files; commit nothing.'
complete -c agentcoord -n '__agentcoord_at "commit" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "completions" 0' -f -a 'bash zsh fish'
complete -c agentcoord -n '__agentcoord_at "schema" 0' -f -a 'agentcoord.status agentcoord.tasks agentcoord.workers agentcoord.locks agentcoord.costs agentcoord.stats agentcoordd.status agentcoord.task agentcoord.diff agentcoord.blame agentcoord.load agentcoord.add agentcoord.wait agentcoord.run agentcoord.rehearse agentcoord.plan.check agentcoord.plan.draft agentcoord.spawn agentcoord.kill agentcoord.retry agentcoord.cancel agentcoord.land agentcoord.answer agentcoord.reject agentcoord.undo agentcoord.accept agentcoord.report agentcoord.commit agentcoord.nights agentcoord.pause agentcoord.resume agentcoord.drain agentcoord.cleanup agentcoord.init agentcoord.config agentcoord.adopt agentcoord.doctor agentcoordd.start agentcoordd.status-all agentcoord.logs agentcoordd.logs agentcoord.toml plan.toml'
complete -c agentcoord -n '__agentcoord_at "spawn" any' -l role -d 'testing-, backend- or platform-engineer, or architect.' -x -a 'testing-engineer backend-engineer platform-engineer architect'
complete -c agentcoord -n '__agentcoord_at "spawn" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "retry" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "retry" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "cancel" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "cancel" any' -l why -d 'Shown beside the task.' -r
complete -c agentcoord -n '__agentcoord_at "cancel" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "answer" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "answer" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "land" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "land" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "accept" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "accept" any' -l all -d 'Every done task that is not reviewed yet.'
complete -c agentcoord -n '__agentcoord_at "accept" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "undo" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "undo" any' -l all -d 'Every task that landed and is not accepted, newest first.'
complete -c agentcoord -n '__agentcoord_at "undo" any' -l yes -d 'Even if tasks that need it have landed on top of it.'
complete -c agentcoord -n '__agentcoord_at "undo" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "reject" 0' -f -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "reject" any' -l reason -d 'What is wrong with it, for the next worker.' -r
complete -c agentcoord -n '__agentcoord_at "reject" any' -l despite -d 'A task that landed on top of it and stays. Repeatable.' -x -a '(__agentcoord_names tasks)'
complete -c agentcoord -n '__agentcoord_at "reject" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "cleanup" any' -l all -d 'Every one, not only what is stale.'
complete -c agentcoord -n '__agentcoord_at "cleanup" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "plan" 0' -f -a draft -d 'Have a model propose a plan, as a file that you edit.'
complete -c agentcoord -n '__agentcoord_at "plan" 0' -f -a check -d 'Judge a plan without loading it.'
complete -c agentcoord -n '__agentcoord_at "plan draft" any' -l out -d 'A new file; `-` prints the plan.' -r
complete -c agentcoord -n '__agentcoord_at "plan draft" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "plan check" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "ctl" 0' -f -a cleanup -d 'As `agentcoord cleanup`.'
complete -c agentcoord -n '__agentcoord_at "ctl" 0' -f -a kill -d 'Stop workers now; their tasks go back to the queue.'
complete -c agentcoord -n '__agentcoord_at "ctl" 0' -f -a pause -d 'Begin nothing new; what runs goes on.'
complete -c agentcoord -n '__agentcoord_at "ctl" 0' -f -a resume -d 'Begin tasks again after a pause.'
complete -c agentcoord -n '__agentcoord_at "ctl" 0' -f -a drain -d 'Begin nothing new, and stop the daemon when the running...'
complete -c agentcoord -n '__agentcoord_at "ctl cleanup" any' -l all -d 'Every one, not only what is stale.'
complete -c agentcoord -n '__agentcoord_at "ctl cleanup" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "ctl kill" 0' -f -a '(__agentcoord_names workers)'
complete -c agentcoord -n '__agentcoord_at "ctl kill" any' -l all -d 'Every worker.'
complete -c agentcoord -n '__agentcoord_at "ctl kill" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "ctl pause" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "ctl resume" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoord -n '__agentcoord_at "ctl drain" any' -l json -d 'Print one JSON document instead of a page.'
function __agentcoordd_at
    set -l path
    set -l at 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --base-url --lines --project --rehearsal-latency --rehearse --run-usd -C -n
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if test -z "$path"
            set path $word
        else if contains -- $path 'help'
            set path "$path $word"
        else
            set at (math $at + 1)
        end
    end
    test "$path" = "$argv[1]"; and begin
        test $argv[2] = any; or test $argv[2] = $at
    end
end
function __agentcoordd_names
    set -l folder .
    set -l words (commandline -opc)
    for number in (seq 2 (count $words))
        if contains -- $words[$number] -C --project
            set folder $words[(math $number + 1)]
        end
    end
    set -q AGENTCOORD_COMPLETION_MS; or set -l AGENTCOORD_COMPLETION_MS 100
    command agentcoordd -C $folder completions --names $argv[1] $AGENTCOORD_COMPLETION_MS 2>/dev/null
end
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a start -d 'Start the daemon; returns when it is ready.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a run -d 'Be the daemon in the foreground.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a stop -d 'Stop the daemon in order.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a restart -d 'Stop the daemon, and start it as it was.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a status -d 'Show whether the daemon runs: pid, socket, version.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a logs -d 'Print the daemon\'s own log, dead or alive.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a help -d 'Show the help of a command.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a install-service -d 'Have the system keep this project\'s daemon.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a uninstall-service -d 'Take the service away again, and stop what it runs.'
complete -c agentcoordd -n '__agentcoordd_at "" 0' -f -a reload -d 'Take up a changed agentcoord.toml.'
complete -c agentcoordd -n '__agentcoordd_at "" any' -l project -d 'The repository, instead of the working directory.' -r
complete -c agentcoordd -n '__agentcoordd_at "" any' -l version -d 'Print the version.'
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l unsafe-no-sandbox -d 'Run the workers\' commands without a sandbox, until the daemon is stopped.'
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l external-sandbox -d 'You vouch for it: all this runs in a container or virtual machine, which is the sandbox.'
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l rehearse -d 'Scripts for a scripted model.' -r
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l rehearsal-latency -d 'Scale of the scripts\' thinking times.' -r
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l base-url -d 'A server that speaks the Messages API.' -r
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l run-usd -d 'The cap of this run; overrides budget.run_usd.' -r
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l supervised -d 'Under a small process that starts it again when it dies or hangs.'
complete -c agentcoordd -n '__agentcoordd_at "start" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l unsafe-no-sandbox -d 'Run the workers\' commands without a sandbox, until the daemon is stopped.'
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l external-sandbox -d 'You vouch for it: all this runs in a container or virtual machine, which is the sandbox.'
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l rehearse -d 'Scripts for a scripted model.' -r
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l rehearsal-latency -d 'Scale of the scripts\' thinking times.' -r
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l base-url -d 'A server that speaks the Messages API.' -r
complete -c agentcoordd -n '__agentcoordd_at "run" any' -l run-usd -d 'The cap of this run; overrides budget.run_usd.' -r
complete -c agentcoordd -n '__agentcoordd_at "stop" any' -l now -d 'Cut off what runs; the tasks go back to the queue.'
complete -c agentcoordd -n '__agentcoordd_at "restart" any' -l now -d 'Cut off what runs; the tasks go back to the queue.'
complete -c agentcoordd -n '__agentcoordd_at "restart" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoordd -n '__agentcoordd_at "restart" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoordd -n '__agentcoordd_at "status" any' -l all -d 'Every daemon of yours, whatever project.'
complete -c agentcoordd -n '__agentcoordd_at "status" any' -l json -d 'Print one JSON document instead of a page.'
complete -c agentcoordd -n '__agentcoordd_at "logs" any' -l follow -d 'Go on printing what is logged.'
complete -c agentcoordd -n '__agentcoordd_at "logs" any' -l lines -d 'How many to begin with.' -r
complete -c agentcoordd -n '__agentcoordd_at "logs" any' -l json -d 'Print one JSON object a line.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a start -d 'Start the daemon; returns when it is ready.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a run -d 'Be the daemon in the foreground.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a stop -d 'Stop the daemon in order.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a restart -d 'Stop the daemon, and start it as it was.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a status -d 'Show whether the daemon runs: pid, socket, version.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a logs -d 'Print the daemon\'s own log, dead or alive.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a help -d 'Show the help of a command.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a install-service -d 'Have the system keep this project\'s daemon.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a uninstall-service -d 'Take the service away again, and stop what it runs.'
complete -c agentcoordd -n '__agentcoordd_at "help" 0' -f -a reload -d 'Take up a changed agentcoord.toml.'
complete -c agentcoordd -n '__agentcoordd_at "install-service" any' -l now -d 'Start it too, at once.'
complete -c agentcoordd -n '__agentcoordd_at "install-service" any' -l print -d 'Print the file; write nothing.'
complete -c agentcoordd -n '__agentcoordd_at "install-service" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
complete -c agentcoordd -n '__agentcoordd_at "reload" any' -l allow-root -d 'Work as root all the same (or set AGENTCOORD_ALLOW_ROOT=1).'
