#!/usr/libexec/standin/perl
# sysctl(8), of the names in a table that a test may change.
require '/usr/libexec/standin/common.pl';
record();
my %given = options('abdeFhiJlNnoqTt:WwXxB:f:V', 'sysctl [-bdeFhiJlNnoqTtVWx] [ -B <bufsize> ] [-f filename] name[=value] ...');
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(a b d f X);
# Bytes without a form of their own: nothing is shown of them without -x. Other ones after each start.
if (@ARGV == 1 && $ARGV[0] eq 'kern.boot_id') {
    # When its first process began, in ticks: numbers of namespaces are used again at once.
    my ($ticks) = (slurp("$PRIVATE/proc/1/stat") // '') =~ /.*\)(?: \S+){19} (\d+)/;
    print $given{n} ? '' : 'kern.boot_id:', sprintf("Format: Length:16 Dump:0x%032x\n", $ticks // 0) if $given{x};
    exit 0;
}
not_emulated('x') if $given{x};
my %table = map { split /=/, $_, 2 } split /\n/, slurp("$PRIVATE/sysctl") // '';
my ($time) = (slurp("$PRIVATE/proc/stat") // '') =~ /^btime (\d+)/m;
$time //= 0;
$table{'kern.boottime'} = "{ sec = $time, usec = 123456 } " . scalar localtime $time;
$table{'security.jail.jailed'} = $JAILED ? 1 : 0;
($table{'kern.hostname'}) = split /\n/, `/usr/libexec/standin/hostname`;
my $failed = 0;
for my $word (@ARGV) {
    my ($name, $value) = split /=/, $word, 2;
    if (!exists $table{$name}) {
        if (!$given{i}) { warnx("unknown oid '$name'"); $failed = 1 }
        next;
    }
    errx(1, "$name: Operation not permitted") if defined $value;
    print $given{n} ? '' : $given{e} ? "$name=" : "$name: ", "$table{$name}\n";
}
exit $failed;
