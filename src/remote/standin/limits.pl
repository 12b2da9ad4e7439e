#!/usr/libexec/standin/perl
# limits(1): sets both limits, becomes the command.
require '/usr/libexec/standin/common.pl';
record();
my $usage = 'limits [-C class|-P pid|-U user] [-eaSHBE] [-bcdfklmnopstuvwy [val]] [[name=val ...] cmd]';
my %names = (c => 'core', d => 'data', f => 'fsize', l => 'memlock', m => 'rss', n => 'nofile', s => 'stack', t => 'cpu', u => 'nproc', v => 'as');
my @set;
while (@ARGV && $ARGV[0] =~ /^-(.)(.*)$/s) {
    my ($letter, $value) = ($1, $2);
    shift @ARGV;
    last if $letter eq '-';
    if ($letter =~ /[SHBEea]/) { not_emulated("-$letter") if $letter ne 'B' && $letter ne 'H'; next }
    not_emulated("-$letter") if $letter =~ /[bkopwyCPU]/;
    if (!$names{$letter}) { print STDERR "limits: illegal option -- $letter\n"; usage($usage) }
    # The value may be left out, to show it: what follows is one only if it looks like one.
    $value = shift @ARGV if $value eq '' && @ARGV && $ARGV[0] =~ /^(\d|inf|unlimit)/;
    not_emulated("-$letter without a value") if $value eq '';
    my %times = (k => 1024, m => 1024**2, g => 1024**3, t => 1024**4, b => 512);
    if ($value =~ /^(inf|infinity|unlimit|unlimited|max)$/i) { $value = 'unlimited' }
    elsif ($value =~ /^(\d+)([kmgtb])?$/i) { $value = $1 * (defined $2 ? $times{ lc $2 } : 1) }
    else { errx(1, "invalid value: $value") }
    push @set, "--$names{$letter}=$value";
}
while (@ARGV && $ARGV[0] =~ /^([A-Za-z_]\w*)=(.*)$/s) { $ENV{$1} = $2; shift @ARGV }
not_emulated('without a command') if !@ARGV;
exec '/usr/libexec/standin/prlimit', @set, '--', @ARGV;
errx(1, "$ARGV[0]: $!");
