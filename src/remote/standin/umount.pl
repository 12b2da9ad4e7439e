#!/usr/libexec/standin/perl
# umount(8). With -f what is in use is unmounted too (here: detached); under other mounts nothing is, as deepest first is the only way that is sure.
require '/usr/libexec/standin/common.pl';
record();
my %given = options('AaF:fh:nNt:v', 'umount [-fnNv] special ... | node ... | fsid ...');
not_emulated(join ' ', keys %given) if grep { $given{$_} } qw(A a F h);
usage('umount [-fnNv] special ... | node ... | fsid ...') if !@ARGV;
my $errors = 0;
for my $word (@ARGV) {
    my $failed = with_mounts(sub {
        my ($table) = @_;
        my $name = $word;
        my $at;
        for my $try (0, 1, 2) {
            if ($try == 1) { $name =~ s{(?<=.)/+$}{} }
            if ($try == 2) { $name = realpath($name) // $name }
            ($at) = grep { $table->[$_][1] eq $name } reverse 0 .. $#$table;
            last if defined $at;
            ($at) = grep { $table->[$_][0] eq $name && $table->[$_][2] ne 'nullfs' } reverse 0 .. $#$table;
            last if defined $at;
        }
        if (!defined $at) {
            if (!lstat $word) { warnx("$word: statfs: No such file or directory"); warnx("$word: unknown file system") }
            elsif (-d $word) { warnx("$word: not a file system root directory") }
            else { warnx("$word: unknown file system") }
            return 1;
        }
        my ($from, $on, $type) = @{ $table->[$at] };
        return 1 if $given{t} && !grep { $_ eq $type } map { split /,/ } @{ $given{t} };
        if ($> != 0 || $JAILED) { warnx("unmount of $on failed: Operation not permitted"); return 1 }
        if (grep { index($_->[1], "$on/") == 0 } @$table[$at + 1 .. $#$table]) { warnx("unmount of $on failed: Device busy"); return 1 }
        if ($on eq '/' || sys($SYS{umount2}, $on, $given{f} ? 2 : 0) != 0) {
            warnx("unmount of $on failed: ", $! == 16 || $on eq '/' ? 'Device busy' : $!);
            return 1;
        }
        splice @$table, $at, 1;
        return 0;
    });
    $errors = 1 if $failed;
}
exit $errors;
