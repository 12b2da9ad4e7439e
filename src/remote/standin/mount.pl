#!/usr/libexec/standin/perl
# mount(8), mount_nullfs(8): nullfs is a bind mount, which is not recursive either; devfs is a tmpfs with a jail's few devices.
require '/usr/libexec/standin/common.pl';
record();
my $usage = "mount [-adflpruvw] [-F fstab] [-o options] [-t ufs | external_type]";
my %given = $NAME eq 'mount_nullfs' ? options('o:', 'mount_nullfs [-o options] target mount-point', 64) : options('adflpruvwF:o:t:', $usage);
my @options = map { split /,/ } @{ $given{o} || [] };
push @options, 'ro' if $given{r};
push @options, 'rw' if $given{w};
my $type = $NAME eq 'mount_nullfs' ? 'nullfs' : $given{t}[-1];
if (!@ARGV) {
    not_emulated('-a') if $given{a};
    for (mounts()) {
        my ($from, $on, $kind, $how) = map { shown($_) } @$_;
        next if defined $type && $kind ne $type;
        if (!$given{p}) {
            my %words = (ro => 'read-only', nosuid => 'nosuid', noexec => 'noexec');
            print "$from on $on ($kind, ", join(', ', $kind eq 'ufs' ? () : 'local', map { $words{$_} // () } split /,/, $how), ")\n";
            next;
        }
        # As it does it: names are not encoded, and one blank is all that is behind a name of 24 characters or more.
        print $_, length() < 8 ? "\t" : '', length() < 16 ? "\t" : '', length() < 24 ? "\t" : ' ' for $from, $on;
        print "$kind\t$how", length $how < 8 ? "\t" : ' ', "\t", $on eq '/' ? '1 1' : '0 0', "\n";
    }
    exit 0;
}
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(a d u f);
errx(1, "$ARGV[0]: unknown special file or file system") if @ARGV == 1;
usage($usage) if @ARGV != 2;
my ($from, $on) = @ARGV;
errx(1, 'Operation not permitted') if $> != 0 || $JAILED;
my $target = realpath($on);
errx(64, "$on: No such file or directory") if !defined $target;
errx(64, "$target: Not a directory") if !-d $target;
my $read_only = grep { $_ eq 'ro' } @options;
my $opts = join ',', $read_only ? 'ro' : 'rw', grep { /^(nosuid|noexec|noatime)$/ } @options;
for my $option (@options) {
    next if $option =~ /^(ro|rw|nosuid|noexec|noatime)$/;
    next if $type eq 'devfs' && $option =~ /^ruleset=\d+$/;
    next if $type eq 'tmpfs' && $option =~ /^(size|mode|uid|gid|inodes)=/;
    errx(1, "$from: mount option <$option> is unknown: Invalid argument");
}
with_mounts(sub {
    my ($table) = @_;
    if ($type eq 'nullfs') {
        my $source = realpath($from);
        $NAME = 'mount_nullfs';
        errx(64, "$from: No such file or directory") if !defined $source;
        errx(64, "$source: Not a directory") if !-d $source;
        errx(1, "$target: Resource deadlock avoided") if $source eq $target;
        sys($SYS{mount}, $source, $target, 'none', 4096, 0) == 0 or errx(1, "$target: $!");
        if ($read_only) { sys($SYS{mount}, 'none', $target, 'none', 4096 | 32 | 1, 0) == 0 or errx(1, "$target: $!") }
        my %modules = map { $_ => 1 } split /\n/, slurp("$PRIVATE/modules") // '';
        spill("$PRIVATE/modules", join "\n", sort 'nullfs', keys %modules) if !$modules{nullfs};
        push @$table, [ $source, $target, 'nullfs', $opts ];
    } elsif ($type eq 'devfs') {
        make_devices($target);
        push @$table, [ 'devfs', $target, 'devfs', $opts ];
    } elsif ($type eq 'tmpfs') {
        my $data = join ',', grep { /^(size|mode|uid|gid)=/ } @options;
        sys($SYS{mount}, 'tmpfs', $target, 'tmpfs', 0, $data) == 0 or errx(1, "tmpfs: $!");
        push @$table, [ 'tmpfs', $target, 'tmpfs', $opts ];
    } else {
        errx(1, "$from: Operation not supported by device");
    }
});
exit 0;

sub make_devices {
    my ($at) = @_;
    sys($SYS{mount}, 'devfs', $at, 'tmpfs', 2 | 8, 'size=64k,mode=755') == 0 or errx(1, "$at: $!");
    my $mask = umask 0;
    for (['null', 1, 3], ['zero', 1, 5], ['random', 1, 8], ['urandom', 1, 9]) {
        system('/usr/libexec/standin/mknod', "$at/$_->[0]", 'c', $_->[1], $_->[2]) == 0 and next;
        sys($SYS{umount2}, $at, 0);
        errx(1, "$at/$_->[0]: cannot be made");
    }
    umask $mask;
    mkdir "$at/fd", 0555;
}
