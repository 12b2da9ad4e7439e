#!/usr/libexec/standin/perl
# head(1): takes more from its input than it hands on, as one that uses stdio does. What follows on the same input is lost.
require '/usr/libexec/standin/common.pl';
record();
unshift @ARGV, '-n', $1 if @ARGV && $ARGV[0] =~ /^-(\d+)$/ && shift @ARGV;
my %given = options('c:n:qv', 'head [-n lines | -c bytes] [-qv] [file ...]');
my $count = ($given{c} || $given{n} || [10])->[-1];
errx(1, 'illegal ', $given{c} ? 'byte' : 'line', " count -- $count") if $count !~ /^\d+$/ || $count == 0;
my $failed = 0;
for my $file (@ARGV ? @ARGV : undef) {
    my $input = \*STDIN;
    if (defined $file) {
        undef $input;
        if (!open $input, '<', $file) { warnx("$file: $!"); $failed = 1; next }
    }
    if (@ARGV > 1 && !$given{q}) { syswrite STDOUT, "==> $file <==\n" }
    my $left = $count;
    while ($left > 0 && sysread $input, my $chunk, 65536) {
        if ($given{c}) { $chunk = substr $chunk, 0, $left; $left -= length $chunk }
        else {
            my $end = 0;
            while ($left > 0) { my $at = index $chunk, "\n", $end; if ($at < 0) { $end = length $chunk; last } $end = $at + 1; $left-- }
            $chunk = substr $chunk, 0, $end;
        }
        while ($chunk ne '') {
            my $taken = syswrite STDOUT, $chunk;
            errx(1, "stdout: $!") if !defined $taken;
            substr $chunk, 0, $taken, '';
        }
    }
}
exit $failed;
