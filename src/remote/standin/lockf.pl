#!/usr/libexec/standin/perl
# lockf(1): without -k the file is removed at the end; the command does not hold the lock, lockf does.
require '/usr/libexec/standin/common.pl';
record();
my $usage = "lockf [-knsw] [-t seconds] file command [arguments]\n       lockf [-s] [-t seconds] fd";
my %given = options('kknpst:Tw', $usage, 64);
not_emulated('on a descriptor') if @ARGV == 1 && $ARGV[0] =~ /^\d+$/;
usage($usage, 64) if @ARGV < 2;
my ($path, @command) = @ARGV;
my $lock;
my $patience = $given{t} ? $given{t}[-1] : undef;
errx(64, "invalid timeout \"$patience\"") if defined $patience && $patience !~ /^\d+$/;
my $take = sub {
    errx($given{n} ? 69 : 73, "cannot open $path: No such file or directory") if $given{n} && !-e $path;
    open($lock, $given{w} ? '+>>' : '>>', $path) or errx(73, "cannot open $path: $!");
    my $held = eval {
        local $SIG{ALRM} = sub { die "late\n" };
        alarm $patience if $patience;
        my $done = flock $lock, defined $patience && $patience == 0 ? 6 : 2;
        alarm 0;
        $done;
    };
    if (!$held) { exit 75 if $given{s}; errx(75, "$path: already locked") }
};
while (1) {
    $take->();
    # Whoever had it may have removed it.
    my @here = stat $path;
    my @mine = stat $lock;
    last if @here && $here[1] == $mine[1];
}
my $done = sub { $given{k} ? flock($lock, 8) : unlink $path };
my $child = fork;
if (!$child) {
    close $lock;
    exec { $command[0] } @command;
    warnx("$command[0]: $!");
    exit 1;
}
$SIG{INT} = $SIG{QUIT} = 'IGNORE';
$SIG{TERM} = sub { $done->(); $SIG{TERM} = 'DEFAULT'; kill 'TERM', $$ };
waitpid $child, 0;
my $status = $?;
$done->();
exit($status & 127 ? 70 : $status >> 8);
