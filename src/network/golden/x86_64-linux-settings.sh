[ ! -e /proc/sys/net/ipv6/conf/all/disable_ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
[ ! -e /proc/sys/net/ipv6/conf/default/disable_ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
[ ! -e /proc/sys/net/ipv4/ip_forward ] || echo 1 >/proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/ipv4/conf/all/send_redirects ] || echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
[ ! -e /proc/sys/net/ipv4/conf/default/send_redirects ] || echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects
[ ! -e /proc/sys/net/ipv4/conf/all/accept_redirects ] || echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects
[ ! -e /proc/sys/net/ipv4/conf/all/rp_filter ] || echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter
