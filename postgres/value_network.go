package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// appendNetwork writes an inet or, as a block, a cidr. A host's inet goes without its bits.
func appendNetwork(dst, v []byte, block bool) ([]byte, error) {
	const ip4, ip6 = 2, 3
	if len(v) < 4 || len(v) != 4+int(v[3]) {
		return dst, errMalformed
	}
	bits, address := v[1], v[4:]
	switch {
	case v[0] == ip4 && len(address) == 4:
		dst = appendIP4(dst, address)
	case v[0] == ip6 && len(address) == 16:
		dst = appendIP6(dst, address)
	default:
		return dst, errMalformed
	}
	if block || int(bits) != 8*len(address) {
		dst = strconv.AppendUint(append(dst, '/'), uint64(bits), 10)
	}
	return dst, nil
}

func appendIP4(dst, v []byte) []byte {
	for i, b := range v {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(b), 10)
	}
	return dst
}

// appendIP6 writes an address of version 6: its longest run of zero groups, the first of
// these, as "::", and what embeds an address of version 4 with it.
func appendIP6(dst, v []byte) []byte {
	start, length := zeroGroups(v)
	for i := 0; i < 8; i++ {
		if i == start {
			dst = append(dst, "::"...)
			if i += length - 1; i == 7 {
				return dst
			}
			continue
		}
		if i > 0 && i != start+length {
			dst = append(dst, ':')
		}
		if i == 6 && start == 0 && (length == 6 || length == 5 && v[10] == 0xff && v[11] == 0xff) {
			return appendIP4(dst, v[12:])
		}
		dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(v[2*i:])), 16)
	}
	return dst
}

// zeroGroups is the longest run of at least two groups that are zero, -1 where there is none.
func zeroGroups(v []byte) (start, length int) {
	start = -9
	for i := 0; i < 8; {
		n := 0
		for i+n < 8 && v[2*(i+n)] == 0 && v[2*(i+n)+1] == 0 {
			n++
		}
		if n > length && n >= 2 {
			start, length = i, n
		}
		i += max(n, 1)
	}
	return start, length
}

// appendMAC writes a macaddr of 6 bytes or a macaddr8 of 8.
func appendMAC(dst, v []byte) ([]byte, error) {
	if len(v) != 6 && len(v) != 8 {
		return dst, errMalformed
	}
	for i := range v {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = hex.AppendEncode(dst, v[i:i+1])
	}
	return dst, nil
}

// appendBits writes a bit string.
func appendBits(dst, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return dst, errMalformed
	}
	n, v := int(binary.BigEndian.Uint32(v)), v[4:]
	if len(v) != (n+7)/8 {
		return dst, errMalformed
	}
	for i := range n {
		dst = append(dst, '0'+v[i/8]>>(7-i%8)&1)
	}
	return dst, nil
}

// appendSnapshot writes a pg_snapshot: xmin, xmax and the transactions in progress.
func appendSnapshot(dst, v []byte) ([]byte, error) {
	if len(v) < 20 || len(v) != 20+8*int(binary.BigEndian.Uint32(v)) {
		return dst, errMalformed
	}
	dst = strconv.AppendUint(dst, binary.BigEndian.Uint64(v[4:]), 10)
	dst = strconv.AppendUint(append(dst, ':'), binary.BigEndian.Uint64(v[12:]), 10)
	dst = append(dst, ':')
	for i, v := 0, v[20:]; len(v) > 0; i, v = i+1, v[8:] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, binary.BigEndian.Uint64(v), 10)
	}
	return dst, nil
}
