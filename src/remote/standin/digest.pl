#!/usr/libexec/standin/perl
# sha256(1) and its relatives; with a name in "sum" they are as GNU's, but for the options.
require '/usr/libexec/standin/common.pl';
record();
my ($kind) = $NAME =~ /^(md5|sha1|sha224|sha256|sha384|sha512)/;
my %given = options('bc:pqrs:tx', "$NAME [-pqrtx] [-c file] [-s string] [file ...]");
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(p t x);
my $tool = "/usr/libexec/standin/${kind}sum";
my $of = sub {
    open my $pipe, '-|', $tool, @_ or die $!;
    my $said = <$pipe> // '';
    close $pipe;
    return $said =~ /^\\?([0-9a-f]+)/ ? $1 : undef;
};
if (!@ARGV && !$given{s}) { my $digest = $of->(); print $NAME =~ /sum$/ ? "$digest  -\n" : "$digest\n"; exit 0 }
if ($given{s}) { not_emulated('-s') }
my $failed = 0;
for my $file (@ARGV) {
    if (!-r $file || -d $file) { warnx("$file: ", -e $file ? -d $file ? 'Is a directory' : 'Permission denied' : 'No such file or directory'); $failed = 1; next }
    my $digest = $of->('--', $file);
    my $matches = !$given{c} || $given{c}[-1] eq $digest;
    if ($given{q}) { print "$digest\n" }
    elsif ($given{r}) { print "$digest $file" . ($matches ? '' : ' [ Failed ]') . "\n" }
    elsif ($NAME =~ /sum$/) { print "$digest  $file\n" }
    else { print uc $kind, " ($file) = $digest" . ($matches ? '' : ' [ Failed ]') . "\n" }
    $failed = 2 if !$matches;
}
exit $failed;
