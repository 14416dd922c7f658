// Vectors for the kernels in ops.inl, by the compiler's vector extension: the same source for
// AVX-512, AVX2 and plain C++ (SSE2 or NEON width). Included only by ops.inl, inside one namespace
// an instruction set; nothing of std or torch is included here, so no inline code built for one
// instruction set can leak into the rest of the program. No include guard on purpose: each
// instruction set's file includes it once.

// Lanes of 32 bits.
#if defined(__AVX512F__)
#define TRIREME_VEC_BYTES 64
#elif defined(__AVX2__)
#define TRIREME_VEC_BYTES 32
#else
#define TRIREME_VEC_BYTES 16
#endif

constexpr int kLanes = TRIREME_VEC_BYTES / 4;

typedef float Vf __attribute__((vector_size(TRIREME_VEC_BYTES)));
typedef int32_t Vi __attribute__((vector_size(TRIREME_VEC_BYTES)));
typedef uint32_t Vu __attribute__((vector_size(TRIREME_VEC_BYTES)));
typedef uint64_t Vu64 __attribute__((vector_size(TRIREME_VEC_BYTES)));
typedef uint16_t Vh __attribute__((vector_size(TRIREME_VEC_BYTES / 2)));

#define TRIREME_INLINE static inline __attribute__((always_inline))

TRIREME_INLINE Vf splat(float x) {
  return x - Vf{};
}
TRIREME_INLINE Vu splat_u(uint32_t x) {
  return x + Vu{};
}
TRIREME_INLINE Vu as_u(Vf x) {
  return (Vu)x;
}
TRIREME_INLINE Vf as_f(Vu x) {
  return (Vf)x;
}
TRIREME_INLINE Vf select(Vi mask, Vf yes, Vf no) {
  return mask ? yes : no;
}
TRIREME_INLINE Vf vmax(Vf a, Vf b) {
  return a > b ? a : b;
}
TRIREME_INLINE Vf vmin(Vf a, Vf b) {
  return a < b ? a : b;
}

// bf16 in memory.
struct Bf16 {
  uint16_t bits;
};

TRIREME_INLINE Vf load(const float* p) {
  Vf x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
TRIREME_INLINE void store(float* p, Vf x) {
  __builtin_memcpy(p, &x, sizeof(x));
}
TRIREME_INLINE Vf load(const Bf16* p) {
  Vh h;
  __builtin_memcpy(&h, p, sizeof(h));
  return as_f(__builtin_convertvector(h, Vu) << 16);
}
// Round to nearest even; NaN stays NaN.
TRIREME_INLINE void store(Bf16* p, Vf x) {
  Vu u = as_u(x);
  Vu rounded = u + 0x7fffu + ((u >> 16) & 1u);
  rounded = (x != x) ? (u | 0x400000u) : rounded;
  Vh h = __builtin_convertvector(rounded >> 16, Vh);
  __builtin_memcpy(p, &h, sizeof(h));
}
// The first n of kLanes; the other lanes read as zero and are not written.
template <class T>
TRIREME_INLINE Vf load_some(const T* p, int n) {
  if (n >= kLanes) return load(p);
  T part[kLanes] = {};
  __builtin_memcpy(part, p, static_cast<size_t>(n) * sizeof(T));
  return load(part);
}
template <class T>
TRIREME_INLINE void store_some(T* p, Vf x, int n) {
  if (n >= kLanes) return store(p, x);
  T part[kLanes];
  store(part, x);
  __builtin_memcpy(p, part, static_cast<size_t>(n) * sizeof(T));
}

TRIREME_INLINE float hsum(Vf x) {
  float lane[kLanes];
  store(lane, x);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}
TRIREME_INLINE float hmax(Vf x) {
  float lane[kLanes];
  store(lane, x);
  float top = lane[0];
  for (int i = 1; i < kLanes; ++i) top = lane[i] > top ? lane[i] : top;
  return top;
}

// e^x to about 1 ulp for x in [-87, 88]; below it 0, above it inf. (Range reduction by ln 2 in two
// pieces, Taylor-like minimax polynomial of degree 6.)
TRIREME_INLINE Vf vexp(Vf x) {
  Vi tiny = x < splat(-87.3f);
  x = vmin(x, splat(88.7f));
  Vf n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  Vf r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  Vf scale = as_f((Vu)((__builtin_convertvector(n, Vi) + 127) << 23));
  return select(tiny, Vf{}, p * scale);
}

// a * m as 64-bit products of the even lanes.
TRIREME_INLINE Vu64 mul_even(Vu64 a, uint32_t m) {
#if defined(__AVX512F__)
  return (Vu64)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int)m));
#elif defined(__AVX2__)
  return (Vu64)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)m));
#else
  return (a & 0xffffffffull) * (Vu64{} + m);
#endif
}
// High and low halves of a * m in all lanes.
TRIREME_INLINE void mul_hi_lo(Vu a, uint32_t m, Vu* hi, Vu* lo) {
  Vu64 even = mul_even((Vu64)a, m);
  Vu64 odd = mul_even((Vu64)a >> 32, m);
  *lo = (Vu)((even & 0xffffffffull) | (odd << 32));
  *hi = (Vu)((even >> 32) | (odd & 0xffffffff00000000ull));
}
