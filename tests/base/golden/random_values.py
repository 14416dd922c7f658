"""Makes the golden values of random_test.cc and permutation_test.cc: python3 random_values.py

The formulas of trireme/base/random.cc and permutation.cc once more. Python's floats are IEEE doubles and its compiler
fuses nothing, so the bits must agree.
"""

import math
import struct

M32 = 0xFFFFFFFF
M64 = (1 << 64) - 1


def philox(counter, key, rounds=10):
    c, k = list(counter), list(key)
    for _ in range(rounds):
        even, odd = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(odd >> 32) ^ c[1] ^ k[0], odd & M32, (even >> 32) ^ c[3] ^ k[1], even & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def mix_seeds(a, b):
    return splitmix64(splitmix64(a) ^ b)


def fnv(data, h=0xCBF29CE484222325):
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & M64
    return h


LOG2_HIGH = float.fromhex("0x1.62e42fefp-1")
LOG2_LOW = float.fromhex("0x1.473de6af278edp-34")
SQRT2 = float.fromhex("0x1.6a09e667f3bcdp+0")
TWO_PI = float.fromhex("0x1.921fb54442d18p+2")


def exact_log(x):
    m, exponent = math.frexp(x)  # m in [0.5, 1)
    m, exponent = 2.0 * m, exponent - 1
    if m > SQRT2:
        m, exponent = 0.5 * m, exponent + 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1.0 / 23
    for odd in range(21, 2, -2):
        series = series * z + 1.0 / odd
    return exponent * LOG2_HIGH + (exponent * LOG2_LOW + (2.0 * s + 2.0 * s * (z * series)))


def cos_sin_turns(turns):
    quarter = (int(turns * 8.0) + 1) // 2
    a = (turns - quarter * 0.25) * TWO_PI
    z = a * a
    c = -1.0 / math.factorial(18)
    for n in range(16, 1, -2):
        c = c * z + (1.0 if n % 4 == 0 else -1.0) / math.factorial(n)
    c = c * z + 1.0
    s = 1.0 / math.factorial(17)
    for n in range(15, 2, -2):
        s = s * z + (1.0 if n % 4 == 1 else -1.0) / math.factorial(n)
    s = a + a * (s * z)
    return [(c, s), (-s, c), (-c, -s), (s, -c)][quarter % 4]


def normal_pair(seed, name, pair):
    r = philox([pair & M32, pair >> 32, name & M32, name >> 32], [seed & M32, seed >> 32])
    u = 1.0 - ((r[0] | (r[1] << 32)) >> 11) * 2.0**-53
    v = ((r[2] | (r[3] << 32)) >> 11) * 2.0**-53
    radius = math.sqrt(-2.0 * exact_log(u))
    c, s = cos_sin_turns(v)
    return radius * c, radius * s


def permutation(n, seed):
    bits = max(2, (n - 1).bit_length())
    low_bits = bits // 2
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    keys = [mix_seeds(seed, r) for r in range(8)]

    def walk(x):
        low, high = x & low_mask, x >> low_bits
        for r in range(0, 8, 2):
            high ^= mix_seeds(keys[r], low) & high_mask
            low ^= mix_seeds(keys[r + 1], high) & low_mask
        return high << low_bits | low

    out = []
    for i in range(n):
        x = walk(i)
        while x >= n:
            x = walk(x)
        out.append(x)
    return out


if __name__ == "__main__":
    name = fnv(b"embeddings.word_embeddings.weight")
    for index in (0, 1, 2, 3, 1000, 1001, 23440895, (1 << 40) + 1):
        value = normal_pair(2026, name, index // 2)[index % 2]
        print(f"normal {index} 0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016x}")
    floats = b"".join(struct.pack("<ff", *(0.02 * x for x in normal_pair(1, fnv(b"x"), p))) for p in range(1 << 19))
    print(f"hash of a million floats 0x{fnv(floats):016x}")
    print("permutation", permutation(10, 1234))
