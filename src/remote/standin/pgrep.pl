#!/usr/libexec/standin/perl
# pgrep(1), pkill(1).
require '/usr/libexec/standin/common.pl';
record();
my $usage = "$NAME [-LafilnoqSvx] [-F pidfile] [-G gid] [-M core] [-N system] [-P ppid] [-U uid] [-c class] [-g pgrp] [-j jail] [-s sid] [-t tty] [-u euid] pattern ...";
my $signal = 'TERM';
if ($NAME eq 'pkill' && @ARGV && $ARGV[0] =~ /^-(?:SIG)?([A-Z0-9]{2,}|\d+)$/) { $signal = $1; shift @ARGV }
my %given = options('LafilnoqSvxF:G:M:N:P:U:c:g:j:s:t:u:d:', $usage, 2);
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(F G M N U c g s t i n o v);
my $jail = $given{j} ? find_jail($given{j}[-1]) // do { warnx("Invalid jail ID or name `$given{j}[-1]'"); exit 2 } : undef;
my %inside = map { $_ => 1 } $jail ? processes_of($jail) : ();
my @found;
for my $pid (entries("$PRIVATE/proc")) {
    next if $pid == $$ || $jail && !$inside{$pid};
    my ($comm, $ppid) = (slurp("$PRIVATE/proc/$pid/stat") // '') =~ /^\d+ \((.*)\) \S+ (\d+)/s or next;
    my ($uid) = (slurp("$PRIVATE/proc/$pid/status") // '') =~ /^Uid:\s+\d+\s+(\d+)/m;
    my $line = join ' ', split /\0/, slurp("$PRIVATE/proc/$pid/cmdline") // '';
    # The shell is FreeBSD's word for a script's own process: stand-ins are what they are called.
    my $text = $given{f} ? ($line =~ s{^/usr/libexec/standin/(?:perl )?}{}r) : $comm;
    next if $given{P} && $ppid != $given{P}[-1] || $given{u} && $uid ne ($given{u}[-1] =~ /^\d+$/ ? $given{u}[-1] : getpwnam($given{u}[-1]) // -1);
    next if @ARGV && !grep { $given{x} ? $text =~ /^(?:$_)$/ : $text =~ /$_/ } @ARGV;
    push @found, $pid;
}
if ($NAME eq 'pkill') { kill $signal, @found }
elsif (!$given{q}) { print "$_\n" for @found }
exit !@found;
