#!/usr/libexec/standin/perl
# chroot(8): numbers or names; without -G the groups stay what they were.
require '/usr/libexec/standin/common.pl';
record();
my $usage = 'chroot [-g group] [-G group,group,...] [-u user] [-n] newroot [command]';
my %given = options('G:g:u:n', $usage);
usage($usage) if !@ARGV;
my ($root, @command) = @ARGV;
my $number = sub {
    my ($word, $kind) = @_;
    return $word + 0 if $word =~ /^\d+$/;
    my $found = $kind eq 'user' ? getpwnam $word : getgrnam $word;
    errx(1, "no such $kind '$word'") if !defined $found;
    return $found;
};
my $gid = $given{g} && $number->($given{g}[-1], 'group');
my @groups = map { $number->($_, 'group') } map { split /,/ } @{ $given{G} || [] };
my $uid = $given{u} && $number->($given{u}[-1], 'user');
chdir $root or errx(1, "$root: $!");
chroot '.' or errx(1, "$root: $!");
my $list = pack 'L*', @groups;
if (@groups) { sys($SYS{setgroups}, scalar @groups, $list) == 0 or errx(1, "setgroups: $!") }
if (defined $gid) { sys($SYS{setgid}, $gid) == 0 or errx(1, "setgid: $!") }
if (defined $uid) { sys($SYS{setuid}, $uid) == 0 or errx(1, "setuid: $!") }
@command = ($ENV{SHELL} // '/bin/sh', '-i') if !@command;
exec { $command[0] } @command;
errx(1, "$command[0]: $!");
