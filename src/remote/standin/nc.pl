#!/usr/libexec/standin/perl
# nc(1), as far as: is there somebody at this address?
require '/usr/libexec/standin/common.pl';
record();
my %given = options('46DdEhklnNrStUuvzFI:i:M:m:O:P:p:q:s:T:V:w:X:x:', 'nc [-46DdEFhklMNnrStUuvz] [hostname] [port]');
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(l U u k X x);
usage('nc [hostname] [port]') if @ARGV != 2;
my ($address, $port) = @ARGV;
my @bytes = $address =~ /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/ or errx(1, "getaddrinfo for host \"$address\" port $port: Name does not resolve");
socket(my $socket, 2, 1, 0) or exit 1;
local $SIG{ALRM} = sub { exit 1 };
alarm $given{w}[-1] if $given{w};
if (!connect $socket, pack 'S n C4 x8', 2, $port, @bytes) {
    print STDERR "nc: connect to $address port $port (tcp) failed: $!\n" if $given{v};
    exit 1;
}
exit 0 if $given{z};
print $_ while sysread $socket, $_, 65536;
