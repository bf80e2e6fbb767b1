# fish completion of mvm; made by `mvm completion fish`.
function _mvm_ask --argument-names what key
  switch $what
    case jobs
      set lines (mvm job list --all --timeout 2s -o jsonl 2>/dev/null)
    case labs
      set lines (mvm lab list --timeout 2s -o jsonl 2>/dev/null)
    case nodes
      set lines (mvm vm list --timeout 2s -o jsonl 2>/dev/null)
  end
  printf '%s\n' $lines | sed -n "s/.*\"$key\":\"\([A-Za-z0-9._-]*\)\".*/\1/p"
end
function _mvm_path
  set -l words (commandline -opc)
  set -l path
  set -l skip 0
  for word in $words[2..-1]
    if test $skip -eq 1
      set skip 0
      continue
    end
    switch $word
      case -o --output --broker --token-file --ca --timeout
        set skip 1
      case '-*'
      case '*'
        set -a path $word
    end
  end
  echo "$path"
end
function _mvm_at
  set -l path (_mvm_path)
  test "$path" = "$argv[1]"; or string match -q -- "$argv[1] *" "$path"
end
complete -c mvm -f
complete -c mvm -n 'test -z (_mvm_path)' -a validate -d 'checks files and shows all of their faults; needs no daemon'
complete -c mvm -n 'test -z (_mvm_path)' -a plan -d 'what would be made and where, or why not'
complete -c mvm -n 'test -z (_mvm_path)' -a graph -d 'draws a file\'s topology; needs no daemon'
complete -c mvm -n 'test -z (_mvm_path)' -a submit -d 'hands a job over; with --wait follows it and fetches its results'
complete -c mvm -n 'test -z (_mvm_path)' -a lab -d 'labs: virtual clusters that hold jobs'
complete -c mvm -n 'test (_mvm_path) = lab' -a create -d 'makes a lab\'s VMs and network now, and waits for them; jobs come later'
complete -c mvm -n 'test (_mvm_path) = lab' -a apply -d 'creates the lab unless it is there as the file says; of two arguments: rewires the job or lab'
complete -c mvm -n 'test (_mvm_path) = lab' -a list -d 'the labs there are'
complete -c mvm -n 'test (_mvm_path) = lab' -a inspect -d 'one lab with its VMs and links'
complete -c mvm -n 'test (_mvm_path) = lab' -a graph -d 'draws a lab: hosts and VMs, processes, queues'
complete -c mvm -n 'test (_mvm_path) = lab' -a destroy -d 'takes labs down with all that is in them'
complete -c mvm -n 'test -z (_mvm_path)' -a job -d 'jobs: follow, ask why, fetch results'
complete -c mvm -n 'test (_mvm_path) = job' -a list -d 'jobs on their way; with --all those that ended, too'
complete -c mvm -n 'test (_mvm_path) = job' -a status -d 'one job with its processes'
complete -c mvm -n 'test (_mvm_path) = job' -a why -d 'every reason for a job\'s present wait or for its end'
complete -c mvm -n 'test (_mvm_path) = job' -a logs -d 'what a job\'s processes and compilers said'
complete -c mvm -n 'test (_mvm_path) = job' -a cancel -d 'stops jobs and takes their labs down'
complete -c mvm -n 'test (_mvm_path) = job' -a result -d 'fetches the files a job left behind'
complete -c mvm -n 'test (_mvm_path) = job' -a history -d 'the states a job went through, and why'
complete -c mvm -n 'test (_mvm_path) = job' -a remove -d 'forgets ended jobs with their logs and results'
complete -c mvm -n 'test -z (_mvm_path)' -a vm -d 'VMs: look inside, run programs, suspend'
complete -c mvm -n 'test (_mvm_path) = vm' -a list -d 'VMs of a lab, or of all labs'
complete -c mvm -n 'test (_mvm_path) = vm' -a console -d 'what a VM wrote to its console'
complete -c mvm -n 'test (_mvm_path) = vm' -a exec -d 'runs a program in a VM; its exit code becomes ours'
complete -c mvm -n 'test (_mvm_path) = vm' -a suspend -d 'stops VMs in their tracks'
complete -c mvm -n 'test (_mvm_path) = vm' -a resume -d 'lets suspended VMs go on'
complete -c mvm -n 'test -z (_mvm_path)' -a link -d 'links: what joins processes'
complete -c mvm -n 'test (_mvm_path) = link' -a list -d 'links of a lab, or of all labs'
complete -c mvm -n 'test (_mvm_path) = link' -a connect -d 'joins ports of a running job by a new link'
complete -c mvm -n 'test (_mvm_path) = link' -a disconnect -d 'takes a link from a running job; what is in it is still delivered'
complete -c mvm -n 'test (_mvm_path) = link' -a set -d 'changes attributes of a link of a running job'
complete -c mvm -n 'test -z (_mvm_path)' -a queue -d 'queues: how full they are, and what goes in and out'
complete -c mvm -n 'test (_mvm_path) = queue' -a top -d 'queues, the fullest first'
complete -c mvm -n 'test (_mvm_path) = queue' -a peek -d 'shows what waits in the queues of a link or port, and takes nothing'
complete -c mvm -n 'test (_mvm_path) = queue' -a put -d 'puts standard input into an open in port of a job, a message a line'
complete -c mvm -n 'test (_mvm_path) = queue' -a get -d 'takes messages out of an open out port of a job and writes them, one a line'
complete -c mvm -n 'test -z (_mvm_path)' -a build -d 'builds: from source to binaries'
complete -c mvm -n 'test (_mvm_path) = build' -a status -d 'what is and was compiled, where, and how long it took'
complete -c mvm -n 'test (_mvm_path) = build' -a logs -d 'what the compiler said'
complete -c mvm -n 'test (_mvm_path) = build' -a cache -d 'binaries kept for the next time; --clear drops them'
complete -c mvm -n 'test -z (_mvm_path)' -a host -d 'hosts: the machines labs run on'
complete -c mvm -n 'test (_mvm_path) = host' -a list -d 'hosts and what is free on them'
complete -c mvm -n 'test (_mvm_path) = host' -a invite -d 'makes a token with which one machine may join as a host'
complete -c mvm -n 'test (_mvm_path) = host' -a drain -d 'places nothing new on hosts; what runs there goes on'
complete -c mvm -n 'test (_mvm_path) = host' -a enable -d 'lets drained hosts take work again'
complete -c mvm -n 'test (_mvm_path) = host' -a remove -d 'forgets joined hosts that are drained and empty'
complete -c mvm -n 'test -z (_mvm_path)' -a events -d 'what happened: jobs, nodes, labs, hosts'
complete -c mvm -n 'test -z (_mvm_path)' -a whoami -d 'who you are to the broker'
complete -c mvm -n 'test -z (_mvm_path)' -a doctor -d 'checks this machine and says how to mend each fault; needs no daemon'
complete -c mvm -n 'test -z (_mvm_path)' -a completion -d 'a script that completes mvm\'s words in your shell'
complete -c mvm -l help -d 'show this help'
complete -c mvm -l output -d 'how results are printed' -x -a 'table json jsonl'
complete -c mvm -l broker -d 'where the broker answers'
complete -c mvm -l token-file -d 'file with your token, readable by you alone' -r -F
complete -c mvm -l ca -d 'authority of the broker\'s certificate, for https' -r -F
complete -c mvm -l timeout -d 'longest wait for one answer'
complete -c mvm -l version -d 'show the version'
complete -c mvm -n "_mvm_at 'validate'" -r -F
complete -c mvm -n "_mvm_at 'validate'" -l set -d 'gives a parameter a value; may be repeated'
complete -c mvm -n "_mvm_at 'plan'" -r -F
complete -c mvm -n "_mvm_at 'plan'" -l set -d 'gives a parameter a value; may be repeated'
complete -c mvm -n "_mvm_at 'plan'" -l offline -d 'ask no broker: only what the file says'
complete -c mvm -n "_mvm_at 'plan'" -l links -d 'list the links, too'
complete -c mvm -n "_mvm_at 'plan'" -l lab -d 'plan into this lab, and show the difference' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'graph'" -r -F
complete -c mvm -n "_mvm_at 'graph'" -l set -d 'gives a parameter a value; may be repeated'
complete -c mvm -n "_mvm_at 'graph'" -l format -d 'how it is drawn'
complete -c mvm -n "_mvm_at 'graph'" -l out -d 'write to this file' -r -F
complete -c mvm -n "_mvm_at 'submit'" -r -F
complete -c mvm -n "_mvm_at 'submit'" -l set -d 'gives a parameter a value; may be repeated'
complete -c mvm -n "_mvm_at 'submit'" -l wait -d 'follow it to its end; =code: return the job\'s own exit code'
complete -c mvm -n "_mvm_at 'submit'" -l detach -d 'do not wait, whatever MVM_WAIT says'
complete -c mvm -n "_mvm_at 'submit'" -l parsable -d 'print the job\'s id alone'
complete -c mvm -n "_mvm_at 'submit'" -l lab -d 'run in this lab instead of one of its own' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'submit'" -l out -d 'folder for the results (here)' -r -F
complete -c mvm -n "_mvm_at 'submit'" -l retry-for -d 'how long to look for a broker that went away'
complete -c mvm -n "_mvm_at 'submit'" -l dry-run -d 'only say what would be done'
complete -c mvm -n "_mvm_at 'lab create'" -r -F
complete -c mvm -n "_mvm_at 'lab create'" -l set -d 'gives a parameter a value; may be repeated'
complete -c mvm -n "_mvm_at 'lab create'" -l parsable -d 'print the lab\'s id alone'
complete -c mvm -n "_mvm_at 'lab create'" -l dry-run -d 'only say what would be done'
complete -c mvm -n "_mvm_at 'lab create'" -l detach -d 'do not wait for the VMs'
complete -c mvm -n "_mvm_at 'lab apply'" -r -F
complete -c mvm -n "_mvm_at 'lab apply'" -l set -d 'gives a parameter a value; may be repeated'
complete -c mvm -n "_mvm_at 'lab apply'" -r -F
complete -c mvm -n "_mvm_at 'lab apply'" -l parsable -d 'print the lab\'s id alone'
complete -c mvm -n "_mvm_at 'lab apply'" -l deadline -d 'prepared by then, or all of it undone'
complete -c mvm -n "_mvm_at 'lab apply'" -l dry-run -d 'only print the steps'
complete -c mvm -n "_mvm_at 'lab list'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'lab inspect'" -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'lab graph'" -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'lab graph'" -l format -d 'how it is drawn'
complete -c mvm -n "_mvm_at 'lab graph'" -l out -d 'write to this file' -r -F
complete -c mvm -n "_mvm_at 'lab destroy'" -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'lab destroy'" -l dry-run -d 'only say what would be done'
complete -c mvm -n "_mvm_at 'job list'" -l all -d 'those that ended, too'
complete -c mvm -n "_mvm_at 'job list'" -l lab -d 'only of this lab' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'job list'" -l user -d 'only of this user'
complete -c mvm -n "_mvm_at 'job list'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'job status'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'job status'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'job why'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'job logs'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'job logs'" -l follow -d 'go on until the job ends, across restarts of the broker'
complete -c mvm -n "_mvm_at 'job logs'" -l process -d 'only of this process'
complete -c mvm -n "_mvm_at 'job logs'" -l retry-for -d 'how long to look for a broker that went away'
complete -c mvm -n "_mvm_at 'job cancel'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'job cancel'" -l dry-run -d 'only say what would be done'
complete -c mvm -n "_mvm_at 'job result'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'job result'" -l out -d 'folder for the files (here)' -r -F
complete -c mvm -n "_mvm_at 'job result'" -l list -d 'only list them'
complete -c mvm -n "_mvm_at 'job history'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'job remove'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'vm list'" -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'vm list'" -l lab -d 'only of this lab' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'vm list'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'vm console'" -x -a '(_mvm_ask nodes node)'
complete -c mvm -n "_mvm_at 'vm console'" -l lab -d 'the lab it is in' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'vm console'" -l follow -d 'go on as it writes'
complete -c mvm -n "_mvm_at 'vm exec'" -x -a '(_mvm_ask nodes node)'
complete -c mvm -n "_mvm_at 'vm exec'" -l lab -d 'the lab it is in' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'vm exec'" -l interactive -d 'hand it our standard input, at most 1 MiB'
complete -c mvm -n "_mvm_at 'vm suspend'" -x -a '(_mvm_ask nodes node)'
complete -c mvm -n "_mvm_at 'vm suspend'" -l lab -d 'the lab they are in' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'vm resume'" -x -a '(_mvm_ask nodes node)'
complete -c mvm -n "_mvm_at 'vm resume'" -l lab -d 'the lab they are in' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'link list'" -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'link list'" -l lab -d 'only of this lab' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'link list'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'link connect'" -l job -d 'of this job, or of the one in this lab (your only one that runs)' -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'link connect'" -l name -d 'the link\'s name (made from its ends)'
complete -c mvm -n "_mvm_at 'link connect'" -l type -d 'fifo, priority or latest'
complete -c mvm -n "_mvm_at 'link connect'" -l capacity -d 'messages'
complete -c mvm -n "_mvm_at 'link connect'" -l bytes -d 'bytes of messages'
complete -c mvm -n "_mvm_at 'link connect'" -l when-full -d 'block, drop-oldest, drop-newest or fail'
complete -c mvm -n "_mvm_at 'link connect'" -l block-for -d 'longest wait of block'
complete -c mvm -n "_mvm_at 'link connect'" -l ttl -d 'messages that wait longer are dropped'
complete -c mvm -n "_mvm_at 'link connect'" -l deliver -d 'one-of, every-one or by-key'
complete -c mvm -n "_mvm_at 'link connect'" -l codec -d 'codecs, in their order'
complete -c mvm -n "_mvm_at 'link connect'" -l transport -d 'a transport to be forced'
complete -c mvm -n "_mvm_at 'link connect'" -l deadline -d 'prepared by then, or all of it undone'
complete -c mvm -n "_mvm_at 'link connect'" -l dry-run -d 'only print the steps'
complete -c mvm -n "_mvm_at 'link disconnect'" -l job -d 'of this job, or of the one in this lab (your only one that runs)' -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'link disconnect'" -l deadline -d 'prepared by then, or all of it undone'
complete -c mvm -n "_mvm_at 'link disconnect'" -l dry-run -d 'only print the steps'
complete -c mvm -n "_mvm_at 'link set'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'link set'" -l job -d 'of this job, or of the one in this lab' -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'link set'" -l deadline -d 'prepared by then, or all of it undone'
complete -c mvm -n "_mvm_at 'link set'" -l dry-run -d 'only print the steps'
complete -c mvm -n "_mvm_at 'queue top'" -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'queue top'" -l lab -d 'only of this lab' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'queue top'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'queue top'" -l count -d 'only the first COUNT'
complete -c mvm -n "_mvm_at 'queue top'" -l rates -d 'also messages and bytes a second, measured for a second'
complete -c mvm -n "_mvm_at 'queue peek'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'queue peek'" -l count -d 'at most COUNT messages of each queue (10)'
complete -c mvm -n "_mvm_at 'queue peek'" -l bytes -d 'of each message its first BYTES (64)'
complete -c mvm -n "_mvm_at 'queue put'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'queue put'" -l size -d 'each message follows its size, 4 bytes, little-endian'
complete -c mvm -n "_mvm_at 'queue put'" -l whole -d 'all of the input is one message'
complete -c mvm -n "_mvm_at 'queue put'" -l key -d 'the messages\' key'
complete -c mvm -n "_mvm_at 'queue put'" -l priority -d 'their priority, 0 to 255'
complete -c mvm -n "_mvm_at 'queue put'" -l done -d 'then end the stream: nobody puts anything more'
complete -c mvm -n "_mvm_at 'queue get'" -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'queue get'" -l size -d 'each message follows its size, 4 bytes, little-endian'
complete -c mvm -n "_mvm_at 'queue get'" -l whole -d 'nothing between messages'
complete -c mvm -n "_mvm_at 'queue get'" -l count -d 'COUNT messages; waits for them'
complete -c mvm -n "_mvm_at 'queue get'" -l follow -d 'wait for more until the end of the stream'
complete -c mvm -n "_mvm_at 'build status'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'build logs'" -l follow -d 'go on until it ends'
complete -c mvm -n "_mvm_at 'build cache'" -l clear -d 'drop those that no job uses'
complete -c mvm -n "_mvm_at 'build cache'" -l dry-run -d 'with --clear: only list them'
complete -c mvm -n "_mvm_at 'host list'" -l watch -d 'show again every TIME (2s) until Ctrl-C'
complete -c mvm -n "_mvm_at 'host invite'" -l valid -d 'how long it is good, once (1h)'
complete -c mvm -n "_mvm_at 'host remove'" -l force -d 'they will not come back: what they had is lost'
complete -c mvm -n "_mvm_at 'events'" -l follow -d 'go on until Ctrl-C; with -o json one object a line'
complete -c mvm -n "_mvm_at 'events'" -l lab -d 'only of this lab' -x -a '(_mvm_ask labs id)'
complete -c mvm -n "_mvm_at 'events'" -l job -d 'only of this job' -x -a '(_mvm_ask jobs id)'
complete -c mvm -n "_mvm_at 'events'" -l since -d 'only behind this number'
complete -c mvm -n "_mvm_at 'events'" -l retry-for -d 'how long to look for a broker that went away'
complete -c mvm -n "_mvm_at 'doctor'" -l quiet -d 'only what is not in order'
complete -c mvm -n "_mvm_at 'doctor'" -l quick -d 'start no VMs to see whether they boot'
complete -c mvm -n "_mvm_at 'doctor'" -l libvirt-lxc -d 'libvirt\'s URI for containers'
complete -c mvm -n "_mvm_at 'doctor'" -l libvirt-qemu -d 'libvirt\'s URI for QEMU guests'
complete -c mvm -n "_mvm_at 'doctor'" -l qemu-image -d 'folder with the kernel and initramfs of QEMU guests' -r -F
complete -c mvm -n "_mvm_at 'doctor'" -l state -d 'folder of the daemon\'s state' -r -F
complete -c mvm -n "_mvm_at completion" -a 'bash zsh fish'
