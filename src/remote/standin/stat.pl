#!/usr/libexec/standin/perl
# stat(1) with -f, and readlink's other name is not this one. %[flags][width][.prec][DOUXFS][HLM]letter; letters as the manual has them.
require '/usr/libexec/standin/common.pl';
record();
my $usage = 'stat [-FHLhnq] [-f format | -l | -r | -s | -x] [-t timefmt] [file ...]';
my %given = options('FHLhnqf:lrst:x', $usage);
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(H h r x F s);
my $format = $given{f} ? $given{f}[-1] : $given{l} ? '%Sp %l %Su %Sg %Z %Sm %N' : '%d %i %Sp %l %Su %Sg %r %z "%Sa" "%Sm" "%Sc" "%SB" %k %b %#Xf %N';
my $end = $given{n} ? '' : "\n";
my $failed = 0;
# GNU's way has the format behind -c or as a long option: refused above. This is what is left of it.
errx(1, "$ARGV[0]: stat: No such file or directory") if @ARGV && $ARGV[0] =~ /^%/ && !-e $ARGV[0];
for my $file (@ARGV ? @ARGV : '(stdin)') {
    my @it = @ARGV ? ($given{L} ? stat $file : lstat $file) : stat STDIN;
    if (!@it) { warnx("$file: stat: $!") if !$given{q}; $failed = 1; next }
    print show($format, $file, @it), $end;
}
exit $failed;

sub mode_text {
    my ($mode) = @_;
    my $text = { 4 => 'd', 8 => '-', 10 => 'l', 2 => 'c', 6 => 'b', 1 => 'p', 12 => 's' }->{ $mode >> 12 } // '?';
    for my $shift (6, 3, 0) {
        my $bits = $mode >> $shift & 7;
        my $x = $bits & 1 ? 'x' : '-';
        $x = $bits & 1 ? 's' : 'S' if $shift == 6 && $mode & 04000 || $shift == 3 && $mode & 02000;
        $x = $bits & 1 ? 't' : 'T' if $shift == 0 && $mode & 01000;
        $text .= ($bits & 4 ? 'r' : '-') . ($bits & 2 ? 'w' : '-') . $x;
    }
    return "$text ";
}
sub time_text {
    my ($time) = @_;
    my @at = localtime $time;
    my $month = (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $at[4] ];
    my $text = $given{t} ? $given{t}[-1] : '%b %e %T %Y';
    my %known = (
        b => $month, e => sprintf('%2d', $at[3]), T => sprintf('%02d:%02d:%02d', @at[2, 1, 0]), Y => $at[5] + 1900, s => $time,
        m => sprintf('%02d', $at[4] + 1), d => sprintf('%02d', $at[3]), H => sprintf('%02d', $at[2]), M => sprintf('%02d', $at[1]),
        S => sprintf('%02d', $at[0]), F => sprintf('%d-%02d-%02d', $at[5] + 1900, $at[4] + 1, $at[3]), '%' => '%',
    );
    $text =~ s/%(.)/$known{$1} \/\/ not_emulated("-t %$1")/ge;
    return $text;
}
sub show {
    my ($text, $file, $dev, $ino, $mode, $links, $uid, $gid, $rdev, $size, $atime, $mtime, $ctime, $block, $blocks) = @_;
    my %plain = (d => $dev, i => $ino, l => $links, u => $uid, g => $gid, r => $rdev, a => $atime, m => $mtime, c => $ctime, B => $ctime,
        z => $size, b => $blocks, k => $block, f => 0, v => 0, p => $mode);
    my $one = sub {
        my ($flags, $width, $how, $part, $letter) = @_;
        my $value;
        if ($letter eq 'N') { $value = $file }
        elsif ($letter eq 'R') { $value = realpath($file) }
        elsif ($letter eq 'Y') {
            my $to = -l $file ? readlink $file : undef;
            $value = defined $to ? ($how eq 'S' ? " -> $to" : $to) : '';
        } elsif ($letter eq 'T') {
            my $kind = $mode >> 12;
            $value = $part eq 'H' ? { 4 => 'Directory', 8 => 'Regular File', 10 => 'Symbolic Link', 2 => 'Character Device', 6 => 'Block Device', 1 => 'Fifo File', 12 => 'Socket' }->{$kind}
                : { 4 => '/', 8 => $mode & 0111 ? '*' : '', 10 => '@', 1 => '|', 12 => '=' }->{$kind} // '';
        } elsif ($letter eq 'Z') { $value = $mode >> 12 == 2 || $mode >> 12 == 6 ? ($rdev >> 8) . ',' . ($rdev & 255) : $size }
        elsif (!exists $plain{$letter}) { not_emulated("-f %$letter") }
        elsif ($how eq 'S') {
            if ($letter eq 'p') {
                $value = mode_text($mode);
                $value = $part eq 'H' ? substr($value, 1, 3) : $part eq 'M' ? substr($value, 4, 3) : $part eq 'L' ? substr($value, 7, 3) : substr $value, 0, 10;
            }
            elsif ($letter =~ /[ug]/) { $value = ($letter eq 'u' ? getpwuid $uid : getgrgid $gid) // $plain{$letter} }
            elsif ($letter =~ /[amcB]/) { $value = time_text($plain{$letter}) }
            elsif ($letter eq 'f') { $value = '-' }
            else { not_emulated("-f %S$letter") }
        } else {
            $value = $plain{$letter};
            if ($letter eq 'p') {
                $value = $part eq 'H' ? $mode >> 12 : $part eq 'M' ? $mode >> 9 & 7 : $part eq 'L' ? $mode & 0777 : $mode;
                $how ||= 'O';
            } elsif ($letter =~ /[dr]/ && $part) { $value = $part eq 'H' ? $value >> 8 : $value & 255 }
            $value = sprintf(($flags =~ /#/ ? '0' : '') . '%o', $value) if $how eq 'O';
            $value = sprintf(($flags =~ /#/ ? '0x' : '') . '%x', $value) if $how eq 'X';
            $value = sprintf '%s.000000000', $value if $how eq 'F';
        }
        return $value if $width eq '';
        return ('0' x ($width - length $value)) . $value if $flags =~ /0/ && $width > length $value;
        return sprintf($flags =~ /-/ ? "%-${width}s" : "%${width}s", $value);
    };
    $text =~ s/%(?:([nt%@])|([#+\-0 ]*)(\d*)(?:\.\d+)?([DOUXFS]?)([HLM]?)([a-zA-Z]))/defined $1 ? { n => "\n", t => "\t", '%' => '%', '@' => 1 }->{$1} : $one->($2, $3, $4, $5, $6)/ge;
    return $text;
}
