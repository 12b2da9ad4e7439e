# rm -x: goes into no other file system. A bind mount has its source's number here, so that GNU's would not stop before one.
require '/usr/libexec/standin/common.pl';
$NAME = 'rm';
my %given = options('dfiIPRrvWx', 'rm [-f | -i] [-dIPRrvWx] file ...');
my %mounted = map { $_->[1] => 1 } mounts();
my $failed = 0;
for my $operand (@ARGV) {
    if (!lstat $operand) {
        if (!$given{f}) { warnx("$operand: No such file or directory"); $failed = 1 }
        next;
    }
    my ($above, $base) = $operand =~ m{^(.*?)([^/]+)/*$} or errx(1, '"/" may not be removed');
    my $path = realpath($above eq '' ? '.' : $above);
    remove($operand, ($path eq '/' ? '' : $path) . "/$base");
}
exit $failed;

sub remove {
    my ($name, $path) = @_;
    if (-l $path || !-d _) {
        if (!unlink $path) { warnx("$name: $!"); $failed = 1 }
        return;
    }
    if (!$given{r} && !$given{R} && !$given{d}) { warnx("$name: is a directory"); $failed = 1; return }
    # It is entered for no more than its own place, which is busy.
    if (!$mounted{$path} && !$given{d}) {
        if (!opendir my $directory, $path) { warnx("$name: $!"); $failed = 1; return }
        else { remove("$name/$_", "$path/$_") for grep { !/^\.\.?$/ } readdir $directory }
    }
    if (!rmdir $path) { warnx("$name: ", $! == 16 ? 'Device busy' : $!); $failed = 1 }
}
