#!/usr/libexec/standin/perl
# jail(8), as its source does it: mounts, devfs, then the jail; at a failure back the same way. Removal: SIGTERM, stop.timeout, SIGKILL, unmounts.
require '/usr/libexec/standin/common.pl';
record();
$| = 1;
my $usage = "jail [-dhilqv] [-J jid_file] [-u username | -U username] [-cmr] param=value ... [command=command ...]\n       jail [-qv] [-f file] [-cmr] [jail ...]\n       jail -[rR] jail";
my %given = options('cde:f:hiJ:lmn:p:qrRs:u:U:v', $usage);
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(d e h J l n p s u U);
my $verbose = ($given{v} ? 1 : 0) - ($given{q} ? 1 : 0);
my %BOOLEAN = map { $_ => 1 } qw(persist mount.devfs mount.fdescfs mount.procfs exec.clean vnet allow.set_hostname allow.sysvipc allow.raw_sockets
    allow.chflags allow.mount allow.mount.devfs allow.mount.nullfs allow.mount.tmpfs allow.mount.zfs allow.mount.fdescfs allow.mount.procfs
    allow.quotas allow.socket_af allow.read_msgbuf allow.reserved_ports allow.suser allow.mlock allow.unprivileged_proc_debug ip_hostname
    allow.dying allow.extattr allow.adjtime allow.settime allow.routing);
my %VALUE = map { $_ => 1 } qw(path name jid host.hostname host.domainname host.hostuuid host.hostid enforce_statfs children.max securelevel
    devfs_ruleset mount mount.fstab ip4 ip6 ip4.addr ip6.addr interface exec.start exec.stop exec.prestart exec.poststart exec.prestop
    exec.poststop exec.created exec.release exec.prepare exec.timeout exec.consolelog exec.jail_user exec.system_user exec.system_jail_user
    exec.fib stop.timeout command depend osrelease osreldate cpuset.id sysvmsg sysvsem sysvshm host linux);
my $errors = 0;

if ($given{r} || $given{R}) {
    usage($usage) if !@ARGV;
    my $config = $given{R} ? undef : $given{f} ? $given{f}[-1] : -e '/etc/jail.conf' ? '/etc/jail.conf' : undef;
    my %known = defined $config ? read_config($config) : ();
    for my $name (@ARGV) { stop($name, $known{$name} ? checked($known{$name}, $name) : {}, !$given{R} && $known{$name}) or $errors = 1 }
    exit $errors;
}
if ($given{m}) {
    not_emulated('-m of a file') if $given{f} || $given{c};
    my %jail;
    set(\%jail, undef, split /=/, $_, 2) for @ARGV;
    my $running = find_jail($jail{name} // $jail{jid} // '');
    if (!$running) { warnx('"' . ($jail{name} // $jail{jid} // '') . '" not found'); exit 1 }
    write_jail({ %$running, %jail, name => $running->{name} });
    exit 0;
}
usage($usage) if !$given{c};
if (@ARGV > 1 || @ARGV == 1 && $ARGV[0] =~ /=/) {
    my %jail;
    while (defined(my $word = shift @ARGV)) {
        if ($word =~ /^command(?:=(.*))?$/s) { $jail{command} = [ defined $1 ? $1 : (), @ARGV ]; last }
        set(\%jail, undef, split /=/, $word, 2);
    }
    exit !start(\%jail, $jail{name}, 0);
}
my %known = read_config($given{f} ? $given{f}[-1] : '/etc/jail.conf');
for my $name (@ARGV ? @ARGV : sort keys %known) {
    if (!$known{$name}) { warnx("\"$name\" not found"); exit 1 }
    start(checked($known{$name}, $name), $name, 1) or $errors = 1;
}
exit $errors;

sub complain { my ($name, @words) = @_; warnx(defined $name ? "$name: " : '', @words); return 0 }

sub set {
    my ($jail, $name, $key, $value) = @_;
    my $plain = $key;
    if (!$BOOLEAN{$key} && $key =~ /^(.*?)no([^.]+)$/ && $BOOLEAN{"$1$2"}) { $plain = "$1$2"; $value = 'false' }
    if (!$BOOLEAN{$plain} && !$VALUE{$plain}) { complain($name, "unknown parameter: $key"); exit 1 }
    if ($BOOLEAN{$plain}) {
        $value //= 'true';
        if ($value !~ /^(true|false|0|1|yes|no)$/) { complain($name, "$plain: unknown boolean value \"$value\""); exit 1 }
    } elsif (!defined $value && $plain !~ /^(exec\.|host$)/) {
        complain($name, "$plain: missing value"); exit 1;
    }
    if ($plain =~ /^(ip4|ip6)$/ && $value !~ /^(new|inherit|disable)$/) { complain($name, "$plain: unknown value \"$value\""); exit 1 }
    if ($plain =~ /^(enforce_statfs|children\.max|devfs_ruleset|securelevel|stop\.timeout|exec\.timeout)$/ && $value !~ /^-?\d+$/) {
        complain($name, "$plain: non-integer value \"$value\""); exit 1;
    }
    $jail->{$plain} = $value;
}

# Parameters are judged of the jails that something is done with.
sub checked {
    my ($parameters, $name) = @_;
    my %jail = (name => $name);
    for (@$parameters) {
        my ($key, $adds, $value) = @$_;
        set(\%jail, $name, $key, $adds && defined $jail{$key} ? "$jail{$key},$value" : $value);
    }
    return \%jail;
}

# jail.conf(5): jails of parameters; words bare, in double quotes (with backslashes and $variables), or in single quotes.
sub read_config {
    my ($path) = @_;
    my $text = $path eq '-' ? do { local $/; <STDIN> } : slurp($path);
    errx(1, "open $path: $!") if !defined $text;
    my ($line, @tokens) = (1);
    my $bad = sub { errx(1, "$path line $line: $_[0]") };
    for ($text) {
        while (1) {
            if (/\G([ \t\n\r]+|#[^\n]*|\/\/[^\n]*|\/\*.*?\*\/)/gcs) { $line += ($1 =~ tr/\n//); next }
            last if /\G\z/gc;
            if (/\G(\+=|[{};=,])/gc) { push @tokens, [ $1, undef, $line ]; next }
            my $word = '';
            my $any = 0;
            while (1) {
                if (/\G"((?:[^"\\]|\\.)*)"/gcs) { $word .= unquote($1, $bad); $line += ($1 =~ tr/\n//); $any = 1; next }
                if (/\G'((?:[^'\\]|\\.)*)'/gcs) { my $raw = $1; $raw =~ s/\\(.)/$1/gs; $word .= $raw; $any = 1; next }
                if (/\G([^\s{};=,"'#\\\$+]|\+(?!=)|\\.)+/gcs) { $word .= unquote($&, $bad); $any = 1; next }
                last;
            }
            $bad->('syntax error near "' . substr($_, pos() // 0, 10) . '"') if !$any;
            push @tokens, [ 'word', $word, $line ];
        }
    }
    my (%jails, @global);
    my $is = sub { @tokens && $tokens[0][0] eq $_[0] };
    my $take = sub { my $t = shift @tokens or $bad->('syntax error at the end'); $t->[0] eq $_[0] or ($line = $t->[2], $bad->("syntax error near \"" . ($t->[1] // $t->[0]) . '"')); $t->[1] };
    my $parameter = sub {
        my ($list, $key) = @_;
        if ($is->(';')) { shift @tokens; push @$list, [ $key, 0, undef ]; return }
        my $adds = $is->('+=');
        $take->($adds ? '+=' : '=');
        my @values = $take->('word');
        while ($is->(',')) { shift @tokens; push @values, $take->('word') }
        $take->(';');
        push @$list, [ $key, $adds, join ',', @values ];
    };
    while (@tokens) {
        my $word = $take->('word');
        if (!$is->('{')) { $parameter->(\@global, $word); next }
        shift @tokens;
        $jails{$word} = [@global];
        while (!$is->('}')) { $parameter->($jails{$word}, $take->('word')) }
        shift @tokens;
    }
    return %jails;
}
sub unquote {
    my ($text, $bad) = @_;
    my $out = '';
    while ($text =~ /\G(?:\\(.)|(\$)|([^\\\$]+))/gs) {
        if (defined $2) { $bad->("variable in \"$text\": not emulated") }
        $out .= $1 // $3;
    }
    return $out;
}

# As check_path() of jail(8): no symlink below the jail's own path.
sub check_path {
    my ($jail, $name, $parameter, $path, $mounted_type) = @_;
    return complain($name, "$parameter: $path: not an absolute pathname") if $path !~ m{^/};
    my $root = $jail->{path} // '';
    if (index($path, "$root/") == 0) {
        my $at = $root;
        for my $part (split m{/}, substr($path, length($root) + 1), -1) {
            $at .= "/$part";
            return complain($name, "$parameter: $at: $!") if !lstat $at;
            return complain($name, "$parameter: $at is a symbolic link") if -l _;
        }
    }
    return 1 if !defined $mounted_type;
    return complain($name, "$parameter: $path: $!") if !stat $path;
    my ($mount) = grep { $_->[1] eq $path } reverse mounts();
    return complain($name, "$parameter: $path: not a mount point") if !$mount;
    return complain($name, "$parameter: $path: not a $mounted_type mount") if $mount->[2] ne $mounted_type;
    return 1;
}
sub unvis {
    my ($text) = @_;
    $text =~ s/\\([0-7]{3}|s|t|n|\\|#)/length $1 == 3 ? chr oct $1 : { s => ' ', t => "\t", n => "\n", '\\' => '\\', '#' => '#' }->{$1}/ge;
    return $text;
}
sub mount_steps {
    my ($jail, $name) = @_;
    my @steps;
    if (defined $jail->{'mount.fstab'}) {
        my $text = slurp($jail->{'mount.fstab'});
        if (!defined $text) { complain($name, "mount.fstab: $jail->{'mount.fstab'}: $!"); return undef }
        for (split /\n/, $text) {
            s/#.*//;
            my @fields = split;
            next if !@fields;
            if (@fields < 3) { complain($name, "mount.fstab: $_: missing information"); return undef }
            push @steps, [ 'mount.fstab', unvis($fields[0]), unvis($fields[1]), $fields[2], $fields[3] ];
        }
    }
    if (($jail->{'mount.devfs'} // '') =~ /^(true|1|yes)$/) {
        push @steps, [ 'mount.devfs', '.', "$jail->{path}/dev", 'devfs', 'ruleset=' . ($jail->{devfs_ruleset} // 4) ];
    }
    return \@steps;
}
sub unmount_step {
    my ($jail, $name, $step) = @_;
    my ($parameter, undef, $on, $type) = @$step;
    check_path($jail, $name, $parameter, $on, $type) or return 0;
    my @command = $parameter eq 'mount.devfs' ? ('/sbin/umount', $on) : ('/sbin/umount', '-t', $type, $on);
    return !system { $command[0] } @command;
}

sub start {
    my ($jail, $name, $named) = @_;
    my $exists = defined $name && find_jail($name);
    if ($exists) { warnx("\"$name\" already exists"); return 0 }
    errx(1, 'jail_set: Operation not permitted') if $> != 0 || $JAILED;
    if (defined $name && ($name =~ /[.]/ || $name =~ /^0/ || length $name > 255)) { return complain($name, "jail \"$name\" not found") }
    my $steps = mount_steps($jail, $name) or return 0;
    my @done;
    my $undo = sub { unmount_step($jail, $name, $_) for reverse @done; return 0 };
    for my $step (@$steps) {
        my ($parameter, $from, $on, $type, $how) = @$step;
        check_path($jail, $name, $parameter, $on) or return $undo->();
        my @command = $parameter eq 'mount.devfs' ? ('/sbin/mount', '-t', $type, "-o$how", $from, $on)
            : ('/sbin/mount', '-t', $type, defined $how ? ('-o', $how) : (), $from, $on);
        if (system { $command[0] } @command) { complain($name, "@command: failed"); return $undo->() }
        push @done, $step;
    }
    my $path = $jail->{path} // '/';
    if (!stat $path) { complain($name, "path $path: $!"); return $undo->() }
    if (!-d _) { complain($name, "path $path: Not a directory"); return $undo->() }
    my $jid = next_jid();
    my %state = (enforce_statfs => 2, %$jail, jid => $jid, name => $name // $jid, path => realpath($path));
    $name //= $jid;
    delete $state{command};
    write_jail(\%state);
    print "$name: created\n" if $verbose >= 0 && $named;
    if ($jail->{command}) {
        my @command = @{ $jail->{command} };
        my $failed = system { '/usr/sbin/jexec' } 'jexec', $name, @command;
        # What a command ended with does not come through, and the jail is not kept.
        unlink "$PRIVATE/jails/$jid" if $failed || !persists(\%state);
        if ($failed) { complain($named ? $name : undef, "@command: failed"); return $undo->() }
    } elsif (!persists(\%state)) {
        unlink "$PRIVATE/jails/$jid";
    }
    return 1;
}
# Another jail may be made at the same moment.
sub next_jid {
    open(my $lock, '>>', "$PRIVATE/lock") or die "$PRIVATE/lock: $!";
    flock $lock, 2;
    my $jid = 1 + (slurp("$PRIVATE/jid") || 0);
    spill("$PRIVATE/jid", $jid);
    return $jid;
}
sub persists { ($_[0]{persist} // '') =~ /^(true|1|yes)$/ }
sub write_jail { my ($state) = @_; spill("$PRIVATE/jails/$state->{jid}", join '', map { "$_=$state->{$_}\0" } sort keys %$state) }

sub stop {
    my ($word, $jail, $configured) = @_;
    my $running = find_jail($word);
    if (!$running) { warnx("\"$word\" not found") if $verbose >= 0; return 0 }
    errx(1, 'jail_remove: Operation not permitted') if $> != 0 || $JAILED;
    my $name = $running->{name};
    if ($configured) {
        # SIGTERM, and so long to end.
        my $timeout = $jail->{'stop.timeout'} // 10;
        if ($timeout > 0) {
            kill 'TERM', processes_of($running);
            for (1 .. $timeout * 50) { last if !processes_of($running); select undef, undef, undef, 0.02 }
        }
    }
    while (my @left = processes_of($running)) { kill 'KILL', @left; select undef, undef, undef, 0.005 }
    unlink "$PRIVATE/jails/$running->{jid}", "$PRIVATE/jails/$running->{jid}.in";
    print "$name: removed\n" if $verbose > 0 || $verbose == 0 && ($configured || @ARGV > 1);
    return 1 if !$configured;
    my $ok = 1;
    my $steps = mount_steps($jail, $name) or return 0;
    unmount_step($jail, $name, $_) or $ok = 0 for reverse @$steps;
    return $ok;
}
