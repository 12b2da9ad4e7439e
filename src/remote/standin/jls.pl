#!/usr/libexec/standin/perl
# jls(8).
require '/usr/libexec/standin/common.pl';
record();
my %given = options('adj:hNnqsve', 'jls [-dhNnqv] [-j jail] [param ...]');
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(v e s);
my %jails = $JAILED ? () : jails();
my @shown = sort { $a->{jid} <=> $b->{jid} } values %jails;
if ($given{j}) {
    my $jail = $JAILED ? undef : find_jail($given{j}[-1]);
    errx(1, "jail \"$given{j}[-1]\" not found") if !$jail;
    @shown = ($jail);
}
if (!@ARGV) {
    printf "   %s             IP Address      Hostname                      Path\n", 'JID' if !$given{n};
    for my $jail (@shown) {
        printf "%6s  %-15.15s %-29.29s %.74s\n", $given{N} ? $jail->{name} : $jail->{jid}, '', $jail->{'host.hostname'} // '', $jail->{path};
    }
    exit 0;
}
my @parameters = map { split /,/ } @ARGV;
for my $parameter (@parameters) {
    errx(1, "unknown parameter: $parameter") if $parameter !~ /^(jid|name|path|host\.hostname|dying|persist|enforce_statfs|ip4|ip6|devfs_ruleset|children\.max|securelevel|parent|osrelease|vnet|allow\.[a-z_.]+)$/;
}
print join(' ', @parameters), "\n" if $given{h};
for my $jail (@shown) {
    $_ = shown($_) for values %$jail;
    my %all = ((map { $_ => 'false' } grep { /^allow\.|^vnet$/ } @parameters), dying => 'false', parent => 0, osrelease => '15.1-RELEASE', securelevel => -1, 'children.max' => 0, persist => 'false', %$jail);
    print join(' ', map { ($given{n} ? "$_=" : '') . ($given{q} ? quoted($all{$_} // '') : $all{$_} // '') } @parameters), "\n";
}
sub quoted {
    my ($text) = @_;
    return '""' if $text eq '';
    my $quote = $text =~ /'/ ? '"' : $text =~ /"/ ? "'" : $text =~ /[ \t]/ ? '"' : '';
    $text =~ s/([\\$quote])/\\$1/g if $quote ne '';
    $text =~ s/\\/\\\\/g if $quote eq '';
    return "$quote$text$quote";
}
