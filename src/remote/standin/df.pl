#!/usr/libexec/standin/perl
# df(1) of the file system that holds each path: 512-byte blocks unless told otherwise.
require '/usr/libexec/standin/common.pl';
record();
my %given = options('abcgHhIiklmnPt:T,', 'df [-b | -g | -H | -h | -k | -m | -P] [-acilnT] [-t type] [-,] [file | filesystem ...]');
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(i T h H c);
my $size = $given{k} ? 1024 : $given{m} ? 1024**2 : $given{g} ? 1024**3 : 512;
my $title = { 512 => '512-blocks', 1024 => '1024-blocks', 1024**2 => '1M-blocks', 1024**3 => '1G-blocks' }->{$size};
my @rows;
my $failed = 0;
for my $path (@ARGV ? @ARGV : map { $_->[1] } mounts()) {
    my $real = realpath($path);
    if (!defined $real || !-e $real) { warnx("$path: No such file or directory"); $failed = 1; next }
    my $mount = file_system($real) // [ '/dev/gpt/rootfs', '/', 'ufs', 'rw' ];
    open my $pipe, '-|', '/usr/libexec/standin/stat', '-f', '-c', '%S %b %f %a', $real or die $!;
    my ($block, $all, $free, $available) = split / /, scalar <$pipe>;
    my ($total, $used, $left) = map { int($_ * $block / $size) } $all, $all - $free, $available;
    push @rows, [ $mount->[0], $total, $used, $left, $used + $left ? int(100 * $used / ($used + $left)) : 0, $mount->[1] ];
}
printf "%-15s %12s %8s %8s %s  %s\n", 'Filesystem', $title, 'Used', 'Avail', 'Capacity', 'Mounted on' if @rows;
printf "%-15s %12d %8d %8d %6d%%    %s\n", @$_ for @rows;
exit $failed;
