"""Ways to ask for what lies inside, as data: spelled by the RFCs, the IANA registries and published lists of SSRF
tricks (PayloadsAllTheThings, the Orange Tsai talks of 2017 and 2018, cujanovic's, HackTricks). None may be
connected to.

Here is what the lists of test_ssrf.py do not have; each group says why its members are tricky.
"""

from __future__ import annotations

from typing import Final

#: Metadata services and the like, by every name and address that clouds give them. `NAMES` lead where they do there.
_METADATA_ADDRESSES = """
169.254.169.254 169.254.170.2 169.254.170.23 169.254.0.23 169.254.169.250 169.254.169.251 169.254.169.252
169.254.169.253 169.254.169.123 100.100.100.200 168.63.129.16 192.0.0.192 169.254.42.42 169.254.169.249
[fd00:ec2::254] [fd00:ec2::253] [fd00:ec2::123] [fd00:ec2::23] [fd20:ce::254] [fd00:42::42] [fd00:c1::a9fe:a9fe]
[fd00:a9fe:a9fe::1] [fe80::a9fe:a9fe] [::ffff:169.254.170.2] [::ffff:100.100.100.200] [::ffff:168.63.129.16]
[64:ff9b::a9fe:aa02] [64:ff9b::6464:64c8] [64:ff9b::a83f:8110] [2002:a9fe:aa02::] [2001:0:a9fe:a9fe::1]
[::a9fe:a9fe] [::ffff:0:a9fe:a9fe] [fe80::5efe:a9fe:a9fe] [2606:4700::5efe:a9fe:a9fe]
[2606:4700::200:5efe:a9fe:a9fe]
"""
METADATA_ADDRESSES: Final = _METADATA_ADDRESSES.split()
NAMES: Final = {
    "metadata.google.internal": ["169.254.169.254"],
    "metadata.goog": ["169.254.169.254"],
    "metadata.tencentyun.com": ["169.254.0.23"],
    "metadata.packet.net": ["192.0.0.192"],
    "metadata.platformequinix.com": ["192.0.0.192"],
    "rancher-metadata": ["169.254.169.250"],
    "instance-data.ec2.internal": ["169.254.169.254"],
    "api.metadata.cloud.ibm.com": ["169.254.169.254"],
    "metadata.nicp.cloud.test": ["100.100.100.200"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "kubernetes.default.svc.cluster.local": ["10.96.0.1", "fd00:10:96::1"],
    "host.docker.internal": ["172.17.0.1"],
    "gateway.docker.internal": ["172.17.0.1"],
    "host.containers.internal": ["10.88.0.1"],
    "consul.service.consul": ["10.0.0.5"],
    "vault": ["10.0.0.6"],
    "intranet": ["192.168.0.10"],
    "router.lan": ["192.168.1.1"],
    "printer.local": ["169.254.7.7"],
    "wpad": ["10.0.0.9"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost6": ["::1"],
    "ip6-loopback": ["::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "a.b.localhost": ["127.0.0.1"],
    "localtest.me": ["127.0.0.1", "::1"],
    "x.localtest.me": ["127.0.0.1"],
    "lvh.me": ["127.0.0.1"],
    "vcap.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "7f000001.nip.io": ["127.0.0.1"],
    "10.0.0.1.sslip.io": ["10.0.0.1"],
    "www.10-0-0-1.sslip.io": ["10.0.0.1"],
    "0--1.sslip.test": ["::1"],
    "spoofed.burpcollaborator.test": ["127.0.0.1"],
    "169-254-169-254.test": ["169.254.169.254"],
    "0.test": ["0.0.0.0"],
    "any6.test": ["::"],
    "bcast.test": ["255.255.255.255"],
    "mcast.test": ["224.0.0.251"],
    "mcast6.test": ["ff02::fb"],
    "cgnat.test": ["100.64.0.1"],
    "bench.test": ["198.18.0.1"],
    "docs.test": ["203.0.113.9"],
    "reserved.test": ["240.0.0.1"],
    "this-net.test": ["0.1.2.3"],
    "ds-lite.test": ["192.0.0.1"],
    "as112.test": ["192.175.48.1"],
    "relay.test": ["192.88.99.1"],
    "mapped.test": ["::ffff:10.0.0.1"],
    "translated.test": ["::ffff:0:a00:1"],
    "compat.test": ["::a00:1"],
    "nat64.test": ["64:ff9b::a00:1"],
    "nat64-local.test": ["64:ff9b:1::a00:1"],
    "6to4.test": ["2002:a00:1::1"],
    "teredo.test": ["2001:0:a00:1::1"],
    "isatap.test": ["2606:4700::5efe:a00:1"],
    "ula.test": ["fd12:3456::1"],
    "link.test": ["fe80::1"],
    "site.test": ["fec0::1"],
    "srv6.test": ["5f00::1"],
    "docs6.test": ["2001:db8::1"],
    "docs20.test": ["3fff::1"],
    "orchid.test": ["2001:20::1"],
    "discard.test": ["100::1"],
    "dummy.test": ["100:0:0:1::1"],
    "nowhere.test": ["4000::1"],
    # One bad address among good ones, wherever it stands.
    "first.test": ["10.0.0.1", "93.184.216.34"],
    "last.test": ["93.184.216.34", "93.184.216.35", "10.0.0.1"],
    "six.test": ["93.184.216.34", "2606:2800:220:1::1", "::1"],
    "four.test": ["10.0.0.1", "2606:2800:220:1::1"],
    "many.test": [*(f"93.184.216.{number}" for number in range(1, 40)), "127.0.0.1"],
}

#: CNAMEs: what is asked for, and the chain behind it, which ends at an address.
CHAINS: Final = {
    "one.chain.test": ["inner.chain.test", "10.0.0.7"],
    "two.chain.test": ["a.chain.test", "b.chain.test", "169.254.169.254"],
    "eight.chain.test": [*(f"c{number}.chain.test" for number in range(7)), "127.0.0.1"],
    "to-localhost.chain.test": ["localhost", "127.0.0.1"],
    "to-metadata.chain.test": ["metadata.google.internal", "169.254.169.254"],
    "to-arpa.chain.test": ["1.0.0.127.in-addr.arpa", "127.0.0.1"],
    "to-six.chain.test": ["inner6.chain.test", "::1"],
}

#: Spellings of hosts. Numbers first: what inet_aton, browsers, or languages of old read as an address.
_SPELLINGS = """
0177.0.0.0x1 0x7f.0.0.0x1 0x7f.0.1 0x7f.00.00.01 0x7F.0X0.0X0.0X1 127.0x1 127.0.0x1 127.01 127.0.01 127.0.0.001
127.0.0.0x01 00.00.00.00 0x00.0x00.0x00.0x00 0b1111111.0.0.1 0o177.0.0.1 2130706433.0 21307064330
0x7f00000000001 0x17f000001 4311810305 18446744071545290497 -2130706433 +2130706433 2130706433e0 2_130_706_433
127,0,0,1 127.0.0.1, 0x.0x.0x.0x 0x 1. 1 01 08 09.0.0.1 0377.0377.0377.0377 0400.0.0.1 127.0.0.1.0x0 0xA9FEA9FE
0xa9fe.0xa9fe 169.0xfea9fe 0251.0376.0xa9fe 0251.0xfe.43518 2852039166. 0xa9.254.0251.254 0250.077.0201.020
0x64.0x64.0x64.0xc8 1684300488 1684301000 012.1 0x0a.1 10.0x1 0xac100001 2886729729 172.1048577 0254.020.0.1
0xc0.0xa8.1.1 192.0xa80101 0300.0xa8.257 169.254.169.254.. ..169.254.169.254 169..254.169.254 169.254.169.254.x
-169.254.169.254 169.254.169.254- 169.254.169.2540 169.254.169.0254 169.254.169.00000254 0169.254.169.254
169.254.0xa9.254 ::ffff:169.254.169.254 ::1 0:0:0:0:0:0:0:1 127%2e0%2e0%2e1 %31%32%37.0.0.1 127.0.0.%31
loc%61lhost %6c%6f%63%61%6c%68%6f%73%74 127.0.0.1%23 127.0.0.1%2f 127.0.0.1%40a.test 127.0.0.1%3f 127.0.0.1%3a80
127.0.0.1%5c a.test%00.127.0.0.1 127.0.0.1%0d%0a 127.0.0.1%09 %5b::1%5d %e3%80%82
127%e3%80%820%e3%80%820%e3%80%821 ①②⑦.⓪.⓪.① １２７.０.０.１ 𝟏𝟐𝟕.𝟎.𝟎.𝟏 𝟭𝟮𝟳.𝟬.𝟬.𝟭 ₁₂₇.₀.₀.₁ ¹²⁷.⁰.⁰.¹ ⑫⑦.0.0.1 127｡0｡0｡1
127．0．0．1 127。0．0｡1 127.0.0.1。 127․0․0․1 127‥0.1 ١٢٧.٠.٠.١
۱۲۷.۰.۰.۱ १२७.०.०.१ 12７.1 ２１３０７０６４３３ ０ｘ７ｆ．１ 0×7f.1
ᶫᵒᶜᵃˡʰᵒˢᵗ ｌｏｃａｌｈｏｓｔ Ⓛocalhost ℓocalhost locaℓhost ⓛⓞⓒⓐⓛⓗⓞⓢⓣ locɑlhost 𝐥𝐨𝐜𝐚𝐥𝐡𝐨𝐬𝐭 localhoſt lo­calhost loc​alhost
lοcalhost lоcalhost xn--lcalhost-85f xn--lclhost-2nf xn--127 xn--127-0 xn-- xn--- xn--a xn--l0a xn--0.xn--0
xn--localhost- xn--metadata- ⓜetadata.google.internal ｍetadata.google.internal metadata。google。internal
metadata.google.internal. METADATA.GOOGLE.INTERNAL metadata.google.internal.. ⓖoogle.internal İnternal ıntranet
K.test a℀b.test a／127.0.0.1 127.0.0.1／a a＠127.0.0.1 127.0.0.1＃a 127.0.0.1？a 127.0.0.1：80 ［::1］ 127.0.0.1＼a
a﹫b.test a﹕80 ﹟.test [::ffff:7f00:1%25lo] [::1%2525lo] [fe80::1%251] [fe80::1%25] [::1%00] [::1 ] [ ::1] [::1,]
[::1]. [::1]x [0:0:0:0:0:0:0:0:1] [::1::] [:::1] [::ffff:0177.0.0.1] [::ffff:127.1] [::ffff:0x7f.0.0.1]
[::ffff:127.0.0.01] [::127.1] [1:2:3:4:5:6:7:127.0.0.1] [v1.127.0.0.1] [v6.::1] [IPv6:::1]
[0000:0000:0000:0000:0000:ffff:a9fe:a9fe] [0:0:0:0:0:FFFF:A9FE:A9FE] [::FFFF:169.254.169.254] [::ffff:0a00:0001]
[::ffff:a00:1] [0::1] [00::1] [::0001] [::00001] [::1:] [1::1::1] [::g] [::ffff:127.0.0.1]:80:80 [[::1]]
[::1][::1] [127.0.0.1] [localhost] [] [2001:0000:7f00:0001:0000:0000:80ff:fffe] [2002:c0a8:0101::]
[2002:0a00:0001:1::] [64:ff9b:0:0:0:0:c0a8:101] [64:ff9b::ac10:1] [64:ff9b:1:ffff::10.0.0.1]
[64:ff9b:0:1::10.0.0.1] [::ffff:0:192.168.0.1] [fd00::] [fdff:ffff::1] [fe80:0:0:1::1] [febf::1] [feff::1]
[ff00::] [ff01::1] [ff05::1:3] [ff0e::1] [3ffe::1] [3fff:fff::1] [5f00:ffff::] [2001:2::1] [2001:10::1]
[2001:2f::1] [2001:1::1] [2001:4:112::1]
"""
SPELLINGS: Final = _SPELLINGS.split()

#: Whole URLs, `HERE` for a port on loopback at which somebody listens.
URLS: Final = [
    "http://a.test:80@127.0.0.1:HERE/",
    "http://127.0.0.1:HERE@a.test:80/",
    "http://a.test:@127.0.0.1:HERE/",
    "http://a.test @127.0.0.1:HERE/",
    "http://a.test&@127.0.0.1:HERE#@b.test/",
    "http://127.1.1.1:HERE\\@127.2.2.2:HERE/",
    "http://127.1.1.1:HERE:\\@@127.2.2.2:HERE/",
    "http://127.1.1.1:HERE#\\@127.2.2.2:HERE/",
    "http://127.0.0.1:11211:HERE/",
    "http://a.test#@127.0.0.1:HERE/@b.test",
    "http://a.test?@127.0.0.1:HERE/",
    "http://a.test;@127.0.0.1:HERE/",
    "http://a.test:HERE:127.0.0.1/",
    "http://foo@127.0.0.1:HERE@a.test/",
    "http://foo@127.0.0.1:HERE @a.test/",
    "http://foo@[::1]:HERE/",
    "http://user:pass@localhost:HERE/",
    "http://%32%37@127.0.0.1:HERE/",
    "http://a.test%23@127.0.0.1:HERE/",
    "http://a.test%5c@127.0.0.1:HERE/",
    "http://a.test%0a@127.0.0.1:HERE/",
    "http:\\/\\/127.0.0.1:HERE/",
    "http:/\\127.0.0.1:HERE/",
    "http:\\\\\\127.0.0.1:HERE",
    "\\\\127.0.0.1:HERE/",
    "/\\127.0.0.1:HERE/",
    "///127.0.0.1:HERE/",
    "http:///127.0.0.1:HERE/",
    "http://///127.0.0.1:HERE/",
    "http:127.0.0.1:HERE",
    "http:@127.0.0.1:HERE/",
    "http:/?127.0.0.1:HERE/",
    "http://?127.0.0.1:HERE/",
    "http://#127.0.0.1:HERE/",
    "http://@/",
    "http://:@127.0.0.1:HERE/",
    "http://:HERE/",
    "http://http://127.0.0.1:HERE/",
    "http://https:@127.0.0.1:HERE/",
    "https://http:127.0.0.1:HERE/",
    "http://127.0.0.1:HERE:/",
    "http://127.0.0.1:/",
    "http://127.0.0.1:00000080/",
    "http://127.0.0.1:65616/",  # 80 modulo 65536
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:0x50/",
    "http://127.0.0.1:8e1/",
    "http://127.0.0.1:８０/",
    "http://127.0.0.1:%38%30/",
    "http://127.0.0.1:80.0/",
    "http://127.0.0.1:80a/",
    "http://127.0.0.1\u00a0:80/",
    "http://127.0.0.1\u2028/",
    "http://127.0.0.1\u3000/",
    "http://127.0.0.1\ufeff/",
    "http://\ufeff127.0.0.1/",
    "http://127.0.0.1\u200b/",
    "http://127.0.0.1\u00ad/",
    "http://127.0.0.1\u202e/",
    "http://\ud800127.0.0.1/",
    "http://127.0.0.1\ud800/",
    "ht\ntp://127.0.0.1:HERE/",
    "http\t://127.0.0.1:HERE/",
    "http:\t//127.0.0.1:HERE/",
    "http:/\n/127.0.0.1:HERE/",
    "http://127.0\n.0.1:HERE/",
    "http://127.0.0.1:HE\tRE/",
    "http://127.0.0.1:HERE\x0b/",
    "http://127.0.0.1:HERE\x0c/",
    "http://127.0.0.1:HERE\x1f/",
    "http://127.0.0.1:HERE\x7f/",
    "http://127.0.0.1:HERE\x85/",
    "http://127.0.0.1:HERE/ HTTP/1.1\r\nhost: a.test\r\n\r\n",
    "http://127.0.0.1:HERE/\u560d\u560a",  # their low bytes are CR and LF
    "http://127.0.0.1:HERE/\u010d\u010a",
    "http://a.test\u560d\u560a127.0.0.1/",
    "http://127.0.0.1:HERE/\x00",
    "h\u0131ttp://127.0.0.1:HERE/",
    "http\u017f://127.0.0.1:HERE/",  # long s: "https" when folded
    "\u210ettp://127.0.0.1:HERE/",
    "http\uff1a//127.0.0.1:HERE/",
    "http:\uff0f\uff0f127.0.0.1:HERE/",
    "http:\u2215\u2215127.0.0.1:HERE/",
    "HTTP://LOCALHOST:HERE/",
    "hTTp://[::FFFF:127.0.0.1]:HERE/",
    "http://[::1]:HERE/?http://a.test/",
    "http://127.0.0.1:HERE/..//..//?#@a.test",
    "https://127.0.0.1:HERE/",
    "http1://127.0.0.1:HERE/",
    "http-://127.0.0.1:HERE/",
    "+http://127.0.0.1:HERE/",
    "1http://127.0.0.1:HERE/",
    "ws://127.0.0.1:HERE/",
    "wss://127.0.0.1:HERE/",
    "ws+unix:///var/run/docker.sock:/info",
    "unix:/var/run/docker.sock:/info",
    "http://unix:/var/run/docker.sock:/info",
    "http://unix%3A%2Fvar%2Frun%2Fdocker.sock/info",
    "file:/etc/passwd",
    "file:///proc/self/environ",
    "file:////127.0.0.1/share",
    "\\\\127.0.0.1\\share",
    "ftps://127.0.0.1/",
    "sftp://127.0.0.1/",
    "scp://127.0.0.1/",
    "ssh://127.0.0.1/",
    "telnet://127.0.0.1:HERE/",
    "smtp://127.0.0.1:25/",
    "imap://127.0.0.1/",
    "pop3://127.0.0.1/",
    "rtsp://127.0.0.1/",
    "mqtt://127.0.0.1/",
    "redis://127.0.0.1:6379/",
    "mysql://127.0.0.1/",
    "ldaps://127.0.0.1/",
    "ldapi://%2fvar%2frun%2fldapi",
    "smb://127.0.0.1/",
    "nfs://127.0.0.1/",
    "git://127.0.0.1/",
    "svn+ssh://127.0.0.1/",
    "phar://x",
    "php://filter/resource=http://127.0.0.1:HERE/",
    "expect://id",
    "zlib:http://127.0.0.1:HERE/",
    "feed:http://127.0.0.1:HERE/",
    "mailto:a@127.0.0.1",
    "about:blank",
    "chrome://settings",
    "res://x",
    "jdbc:mysql://127.0.0.1/",
    "http2://127.0.0.1:HERE/",
    "h2c://127.0.0.1:HERE/",
    "coap://127.0.0.1/",
    "",
    "http",
    "http:",
    "http:/",
    "http://",
    "http:///",
    "127.0.0.1",
    "127.0.0.1:HERE",
    "localhost:HERE",
    "//127.0.0.1:HERE",
    "@127.0.0.1:HERE",
    "?http://127.0.0.1:HERE",
    "#http://127.0.0.1:HERE",
    "http://" + "a" * 64 + ".test/",
    "http://" + "a." * 200 + "test/",
    "http://" + "127.0.0.1." * 30 + "/",
    "http://[" + "0:" * 2_000 + "1]/",
    "http://" + "1" * 5_000 + "/",
    "http://127.0.0.1:" + "0" * 5_000 + "80/",
    "http://" + "%31" * 2_000 + "/",
    "http://127.0.0.1/" + "a" * 20_000,
    "http://" + "\u0301" * 500 + ".test/",
    "http://" + "\u00df" * 300 + ".test/",
]
