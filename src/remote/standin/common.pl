# What the stand-ins written in Perl share. See standin.testing.ts for what they stand in for, and what they do not prove.
our $PRIVATE = '/.standin';    # the emulated kernel's state; not there in a jail, as FreeBSD's is not
our ($NAME) = $0 =~ m{([^/]+)$};
my $machine = -e '/usr/libexec/standin/aarch64' ? 'arm' : 'amd';
my %numbers = (
    amd => { mount => 165, umount2 => 166, unshare => 272, sethostname => 170, setgroups => 116, setgid => 106, setuid => 105 },
    arm => { mount => 40, umount2 => 39, unshare => 97, sethostname => 161, setgroups => 159, setgid => 144, setuid => 146 },
);
our %SYS = %{ $numbers{$machine} };
# Not with literals: perl takes strings for buffers that a call may write to.
sub sys { my ($number, @words) = @_; return syscall $number, @words }
# A process is in the jail whose jexec(8) gave it its UTS namespace; one whose root is the host's sees the state, but is in it all the same.
our $UTS = readlink('/.standin/proc/self/ns/uts') // '';
our $JAILED = !-d $PRIVATE || $UTS ne (slurp("$PRIVATE/uts") // '');

sub warnx { print STDERR "$NAME: ", @_, "\n" }
sub errx { my $status = shift; warnx(@_); exit $status }
sub usage { print STDERR "usage: $_[0]\n"; exit($_[1] // 1) }
# A thing of FreeBSD's that is there and that nobody emulated: louder than a wrong answer.
sub not_emulated { print STDERR "stand-in: $NAME: not emulated: @_\n"; exit 70 }

sub record {
    return if !open(my $file, '>>', "$PRIVATE/calls");
    # Not for the size of a file that limits(1) set.
    local $SIG{XFSZ} = 'IGNORE';
    syswrite $file, join(' ', $NAME, @ARGV) . "\0";
}

# getopt(3): stops at the first operand.
sub options {
    my ($letters, $usage, $status) = @_;
    my %given;
    while (@ARGV && $ARGV[0] =~ /^-(.+)/s) {
        my $word = $1;
        shift @ARGV;
        last if $word eq '-';
        while ($word ne '') {
            my $letter = substr $word, 0, 1, '';
            my $at = index $letters, $letter;
            if ($letter eq ':' || $at < 0) {
                print STDERR "$NAME: illegal option -- $letter\n";
                usage($usage, $status);
            }
            if (substr($letters, $at + 1, 1) ne ':') { $given{$letter}++; next }
            if ($word eq '') {
                if (!@ARGV) {
                    print STDERR "$NAME: option requires an argument -- $letter\n";
                    usage($usage, $status);
                }
                $word = shift @ARGV;
            }
            push @{ $given{$letter} }, $word;
            $word = '';
        }
    }
    return %given;
}

# libxo, by which some print: what the locale has no letter for is a question mark.
sub shown { my ($text) = @_; $text =~ tr/\x80-\xff/?/ if ($ENV{LC_ALL} // $ENV{LANG} // '') !~ /UTF-8$/i; return $text }
sub slurp { my ($path) = @_; open(my $file, '<', $path) or return undef; local $/; my $text = <$file>; $text // '' }
sub spill { my ($path, $text) = @_; open(my $file, '>', "$path.new") or die "$path: $!"; print $file $text; close $file; rename "$path.new", $path }
# The numbers among the names of a directory, in order.
sub entries { my ($path) = @_; opendir(my $directory, $path) or return; my @found = sort { $a <=> $b } grep { /^\d+$/ } readdir $directory; @found }

sub realpath {
    my ($path) = @_;
    my @todo = split m{/+}, $path =~ m{^/} ? $path : cwd() . "/$path";
    my $done = '';
    my $links = 0;
    while (@todo) {
        my $name = shift @todo;
        next if $name eq '' || $name eq '.';
        if ($name eq '..') { $done =~ s{/[^/]*$}{}; next }
        if (!lstat "$done/$name") { return undef }
        if (-l _) {
            if (++$links > 32) { $! = 40; return undef }
            my $to = readlink "$done/$name";
            $done = '' if $to =~ m{^/};
            unshift @todo, split m{/+}, $to;
            next;
        }
        $done .= "/$name";
    }
    return $done eq '' ? '/' : $done;
}
sub cwd { my $at = `/bin/pwd`; chomp $at; $at }

# The mount table: [from, on, type, options], in the order of mounting.
sub with_mounts {
    my ($change) = @_;
    open(my $lock, '>>', "$PRIVATE/lock") or die "$PRIVATE/lock: $!";
    flock $lock, 2;
    my @table = mounts();
    my $result = $change->(\@table);
    spill("$PRIVATE/mounts", join '', map { join("\0", @$_) . "\0\n" } @table);
    return $result;
}
sub mounts { map { [ split /\0/, $_, -1 ] } split /\0\n/, slurp("$PRIVATE/mounts") // '' }
sub file_system {    # the last mount that holds a path
    my ($path) = @_;
    my $found;
    for my $each (mounts()) {
        my $on = $each->[1];
        next if $on ne '/' && $path ne $on && index($path, "$on/") != 0;
        $found = $each if !$found || length $on >= length $found->[1];
    }
    return $found;
}

# What jails there are: name => { jid, name, path, host.hostname, ... }.
sub jails {
    my %jails;
    for my $jid (entries("$PRIVATE/jails")) {
        my %jail = map { split /=/, $_, 2 } split /\0/, slurp("$PRIVATE/jails/$jid") // next;
        $jails{ $jail{name} } = \%jail;
    }
    return %jails;
}
sub find_jail {
    my ($word) = @_;
    my %jails = jails();
    return $jails{$word} if exists $jails{$word};
    return (grep { $_->{jid} eq $word } values %jails)[0];
}
# What runs in a jail.
sub processes_of {
    my ($jail) = @_;
    my %inside = map { $_ => 1 } split /\n/, slurp("$PRIVATE/jails/$jail->{jid}.in") // '';
    return grep { $inside{ readlink("$PRIVATE/proc/$_/ns/uts") // '' } } entries("$PRIVATE/proc");
}
# The jail that this process is in.
sub own_jail {
    my %jails = jails();
    return (grep { (slurp("$PRIVATE/jails/$_->{jid}.in") // '') =~ /^\Q$UTS\E$/m } values %jails)[0];
}
1;
