#!/usr/libexec/standin/perl
# Tools that say one thing, by the name that they were called by.
require '/usr/libexec/standin/common.pl';
record();
my %table = map { split /=/, $_, 2 } split /\n/, slurp("$PRIVATE/sysctl") // '';
my $release = $table{'kern.osrelease'} // '15.1-RELEASE';
my %modules = map { $_ => 1 } split /\n/, slurp("$PRIVATE/modules") // '';
my %tool = (
    uname => sub {
        my %given = options('abiKmnoprsUv', 'uname [-abiKmnoprsUv]');
        my ($host) = split /\n/, `/usr/libexec/standin/hostname`;
        my %say = (
            s => 'FreeBSD', n => $host, r => $release, v => "FreeBSD $release releng/15.1-n283562-96841ea08dcf GENERIC",
            m => $table{'hw.machine'} // 'amd64', p => $table{'hw.machine_arch'} // 'amd64', o => 'FreeBSD', i => 'GENERIC',
            U => $table{'kern.osreldate'} // 1501000, K => $table{'kern.osreldate'} // 1501000,
        );
        %given = (s => 1) if !%given;
        @given{qw(s n r v m)} = (1) x 5 if $given{a};
        print join(' ', map { $given{$_} ? $say{$_} : () } qw(s n r v m p i o K U)), "\n";
    },
    'freebsd-version' => sub { my %given = options('kruj:', 'freebsd-version [-kru] [-j jail]'); print "$release\n" for 1 .. (grep { $given{$_} } qw(k r u)) || 1 },
    kldstat => sub {
        my %given = options('dhi:m:n:qv', 'kldstat [-dhqv] [-i id] [-n filename]');
        if ($given{m}) {
            exit 0 if $modules{ $given{m}[-1] } || $given{m}[-1] =~ /^(ufs|devfs|tmpfs)$/;
            errx(1, "can't find module $given{m}[-1]: No such file or directory") if !$given{q};
            exit 1;
        }
        if ($given{n}) {
            exit 0 if $modules{ $given{n}[-1] =~ s/\.ko$//r };
            errx(1, "can't find file $given{n}[-1]: No such file or directory") if !$given{q};
            exit 1;
        }
        print "Id Refs Address                Size Name\n 1    1 0xffffffff80200000  233bcf0 kernel\n";
        my $id = 2;
        printf "%2d    1 0xffffffff82%06x     5d10 %s.ko\n", $id++, $id * 4096, $_ for sort keys %modules;
    },
    kldload => sub {
        my %given = options('nqv', 'kldload [-nqv] file ...');
        for my $module (map { s/\.ko$//r } @ARGV) {
            if ($modules{$module}) { exit 0 if $given{n}; errx(1, "can't load $module: module already loaded or in kernel") }
            errx(1, "can't load $module: No such file or directory") if $module !~ /^(nullfs|tmpfs|fdescfs|linux|vmm|zfs|if_tap|nmdm)$/;
            errx(1, "can't load $module: Operation not permitted") if $> != 0 || $JAILED;
            errx(1, "can't load $module: Device not configured") if $module eq 'vmm';
            $modules{$module} = 1;
            spill("$PRIVATE/modules", join "\n", sort keys %modules);
        }
    },
    lsvfs => sub {
        my %all = (devfs => 'synthetic, jail', ufs => '', tmpfs => 'jail', procfs => 'synthetic, jail', $modules{nullfs} ? (nullfs => 'loopback, jail') : ());
        my @shown = @ARGV ? @ARGV : sort keys %all;
        print "Filesystem                              Num  Refs  Flags\n-------------------------------- ---------- -----  ---------------\n";
        for (@shown) {
            if (!exists $all{$_}) { warnx("VFS $_ unknown or not loaded"); exit 1 }
            printf "%-32s 0x%08x %5d  %s\n", $_, 0x71, 1, $all{$_};
        }
    },
    rctl => sub {
        options('ahlunr', 'rctl [ -h ] [filter ...]');
        errx(1, 'RACCT/RCTL present, but disabled; enable using kern.racct.enable=1 tunable') if ($table{'kern.racct.enable'} // 0) != 1;
    },
    devfs => sub {
        if ("@ARGV" eq 'rule -s 4 show') { print "100 include 1\n200 include 2\n300 include 3\n400 path zfs unhide\n"; return }
        if ("@ARGV" eq 'rule showsets') { print "1\n2\n3\n4\n5\n"; return }
        not_emulated(@ARGV);
    },
    ifconfig => sub {
        # A jail without VNET sees these too.
        if ("@ARGV" eq '-l') { print "vtnet0 lo0\n"; return }
        print "vtnet0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n\tether 52:54:00:12:34:56\n";
        print "lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384\n";
    },
    zfs => sub { errx(1, 'internal error: failed to initialize ZFS library') },
    zpool => sub { errx(1, 'internal error: failed to initialize ZFS library') },
    bhyvectl => sub { errx(1, 'VM not found') },
    chflags => sub { my %given = options('fhHLPRvx', 'chflags [-fhvx] [-R [-H | -L | -P]] flags file ...'); shift @ARGV; for (@ARGV) { errx(1, "$_: No such file or directory") if !lstat } },
    pkg => sub { print STDERR "The package management tool is not yet installed on your system.\nDo you want to fetch and install it now? [y/N]: \n"; exit 1 },
);
($tool{$NAME} // sub { not_emulated(@ARGV) })->();
