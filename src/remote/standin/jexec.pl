#!/usr/libexec/standin/perl
# jexec(8): becomes the command, in the jail's root, with its host name, and without a network where the jail has none. No process between.
require '/usr/libexec/standin/common.pl';
record();
my $usage = 'jexec [-l] [-d working-directory] [-e name=value] [-u username | -U username] jail [command ...]';
my %given = options('d:e:lnu:U:', $usage);
usage($usage) if !@ARGV;
not_emulated(join ' ', keys %given) if $given{l};
my ($word, @command) = @ARGV;
my $jail = $JAILED ? undef : find_jail($word);
errx(1, "jail \"$word\" not found") if !$jail;
errx(1, "jail_attach($jail->{jid}): Operation not permitted") if $> != 0;
errx(1, "getpwnam: $given{u}[-1]: No such file or directory") if $given{u} && !defined getpwnam $given{u}[-1];
my $isolated = 0x04000000 | 0x08000000;
$isolated |= 0x40000000 if ($jail->{ip4} // '') eq 'disable' && ($jail->{ip6} // '') eq 'disable';
sys($SYS{unshare}, $isolated) == 0 or errx(1, "jail_attach($jail->{jid}): $!");
open(my $inside, '>>', "$PRIVATE/jails/$jail->{jid}.in") or errx(1, "jail_attach($jail->{jid}): $!");
syswrite $inside, readlink("$PRIVATE/proc/self/ns/uts") . "\n";
close $inside;
my $hostname = $jail->{'host.hostname'} // '';
sys($SYS{sethostname}, $hostname, length $hostname);
chdir $jail->{path} or errx(1, "jail_attach($jail->{jid}): $!");
chroot '.' or errx(1, "jail_attach($jail->{jid}): $!");
chdir($given{d} ? $given{d}[-1] : '/') or errx(1, "chdir(): /: $!");
if ($given{U}) {
    # Names are those of the jail, which has no passwd(5).
    my $line = (grep { /^\Q$given{U}[-1]\E:/ } split /\n/, slurp('/etc/passwd') // '')[0];
    errx(1, "getpwnam: $given{U}[-1]: No such file or directory") if !defined $line;
    my (undef, undef, $uid, $gid) = split /:/, $line;
    sys($SYS{setgroups}, 1, pack 'L', $gid);
    sys($SYS{setgid}, $gid + 0);
    sys($SYS{setuid}, $uid + 0);
}
for (@{ $given{e} || [] }) { my ($name, $value) = split /=/, $_, 2; $ENV{$name} = $value }
@command = ($ENV{SHELL} // '/bin/sh', '-i') if !@command;
exec { $command[0] } @command;
errx(1, "execvp: $command[0]: $!");
