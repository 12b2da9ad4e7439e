#!/usr/libexec/standin/perl
# ps(1), of the host. FreeBSD has no /proc that it would need; this one has it hidden.
require '/usr/libexec/standin/common.pl';
record();
my $usage = 'ps [--libxo] [-aCcdeHhjlmrSTuvwXxZ] [-O fmt | -o fmt] [-D up | down] [-G gid[,gid...]] [-J jid[,jid...]] [-M core] [-N system] [-p pid[,pid...]] [-t tty[,tty...]] [-U user[,user...]]';
unshift @ARGV, '-' . shift @ARGV if @ARGV && $ARGV[0] =~ /^[a-zA-Z]+$/;
my %given = options('AaCcD:deG:HhJ:jlM:mN:O:o:p:rSTt:U:uvwXxZ', $usage);
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(D G M N O S t u v j l);
# In a jail, of what is in it. Where its root is not the host's there is no /proc to read.
not_emulated('in a jail with a root of its own') if !-d $PRIVATE;
my $mine = $JAILED ? own_jail() : undef;
# "-o pid=,lstart=": a field with "=" takes all that follows as its heading, commas too.
my @columns;
for my $words (@{ $given{o} || ['pid,tt,stat,time,command'] }) {
    for my $word (split /[ ,]+/, $words =~ s/=.+$/=/r eq $words || $words =~ /^([a-z]+=,?)+$/ ? $words : not_emulated("-o $words")) {
        $word =~ /^([a-z]+)(=)?$/ or not_emulated("-o $word");
        push @columns, [ $1, defined $2 ? '' : uc $1 ];
    }
}
my %user = map { $_ => 1 } map { /^\d+$/ ? $_ : getpwnam($_) // errx(1, "No users: $_") } map { split /,/ } @{ $given{U} || [] };
my %pids = map { $_ => 1 } map { split /[, ]+/ } @{ $given{p} || [] }, @ARGV;
my %jids = map { $_ => 1 } map { (find_jail($_) // errx(1, "Invalid jail id: $_"))->{jid} } map { split /,/ } @{ $given{J} || [] };
my %jid;
for my $jail (values %{ { jails() } }) { $jid{$_} = $jail->{jid} for processes_of($jail) }
my ($boot) = (slurp("$PRIVATE/proc/stat") // '') =~ /^btime (\d+)/m;
my @rows;
for my $pid (entries("$PRIVATE/proc")) {
    my $directory = "$PRIVATE/proc/$pid";
    my $stat = slurp("$directory/stat") // next;
    my ($comm, $rest) = $stat =~ /^\d+ \((.*)\) (.*)$/s or next;
    my @field = split / /, $rest;
    my ($uid, $gid) = map { (slurp("$directory/status") // '') =~ /^$_:\s+\d+\s+(\d+)/m ? $1 : 0 } qw(Uid Gid);
    my $jid = $jid{$pid} // 0;
    my $line = slurp("$directory/cmdline") // '';
    my @words = split /\0/, $line;
    my $start = $boot + int($field[19] / 100);
    my @at = localtime $start;
    my %it = (
        pid => $pid, ppid => $field[1], pgid => $field[2], sid => $field[3], uid => $uid, ruid => $uid, gid => $gid, jid => $jid,
        user => scalar(getpwuid $uid) // $uid, ruser => scalar(getpwuid $uid) // $uid, comm => $comm, ucomm => $comm,
        command => @words ? "@words" : "[$comm]", args => @words ? "@words" : "[$comm]",
        stat => $field[0] eq 'S' ? 'I' : $field[0], state => $field[0] eq 'S' ? 'I' : $field[0], tt => '-', tty => '-', rss => $field[21] * 4, vsz => int($field[20] / 1024),
        time => sprintf('%d:%02d.00', int(($field[11] + $field[12]) / 6000), ($field[11] + $field[12]) / 100 % 60),
        etimes => time - $start,
        lstart => sprintf('%s %s %2d %02d:%02d:%02d %d', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $at[6] ],
            (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $at[4] ], @at[3, 2, 1, 0], $at[5] + 1900),
        jail => 0, start => $start,
    );
    next if $mine && $jid != $mine->{jid};
    next if %pids && !$pids{$pid} || %user && !$user{$uid} || %jids && !$jids{$jid};
    next if !%pids && !%user && !%jids && !$given{a} && !$given{x} && !$given{A} && $uid != $>;
    push @rows, \%it;
}
for (@columns) { not_emulated("-o $_->[0]") if @rows && !exists $rows[0]{ $_->[0] } }
my %width = (lstart => 28, command => 0, args => 0);
my $line = sub {
    my ($text, $last) = ('', $#columns);
    for my $at (0 .. $last) {
        my ($name) = @{ $columns[$at] };
        my $value = $_[0]->($columns[$at]);
        my $wide = $width{$name} // 5;
        $text .= $at == $last && $name =~ /^(lstart|command|args|comm|ucomm|stat|state|user|ruser)$/ ? $value
            : $name =~ /^(lstart|command|args|comm|ucomm|stat|state|user|ruser)$/ ? sprintf("%-${wide}s ", $value)
            : sprintf("%${wide}s", $value) . ($at == $last ? '' : ' ');
    }
    print "$text\n";
};
$line->(sub { $_[0][1] }) if grep { $_->[1] ne '' } @columns;
for my $row (@rows) { $line->(sub { $row->{ $_[0][0] } }) }
exit !@rows;
