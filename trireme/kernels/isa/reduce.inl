// Sums, minima and maxima of several arrays into one or several others: what collectives in shared
// memory do with the ranks' buffers. Included by ops.inl, once an instruction set. The order is
// that of the sources; 16-bit types are added in fp32 and rounded once.

// fp16 in memory.
struct Fp16 {
  uint16_t bits;
};

TRIREME_INLINE Vf load(const Fp16* p) {
  Vh h;
  __builtin_memcpy(&h, p, sizeof(h));
  const Vu u = __builtin_convertvector(h, Vu);
  const Vu magnitude = (u & 0x7fffu) << 13;
  // The exponent's bias moves from 15 to 127 by a product, which also makes subnormals normal.
  const Vu finite = as_u(as_f(magnitude) * 0x1p112f);
  const Vu bits = (magnitude >= 0x0f800000u) ? (magnitude | 0x7f800000u) : finite;
  return as_f(bits | ((u & 0x8000u) << 16));
}
// Round to nearest even; NaN stays NaN.
TRIREME_INLINE void store(Fp16* p, Vf x) {
  const Vu u = as_u(x);
  const Vu magnitude = u & 0x7fffffffu;
  const Vu normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14 the sum with 0.5 rounds at the place of a subnormal's last bit.
  const Vu subnormal = as_u(as_f(magnitude) + 0.5f) - 0x3f000000u;
  Vu bits = (magnitude < 0x38800000u) ? subnormal : normal;
  bits = (magnitude >= 0x47800000u) ? 0x7c00u + Vu{} : bits;
  bits = (magnitude > 0x7f800000u) ? (0x7e00u | (magnitude >> 13 & 0x3ffu)) : bits;
  const Vh h = __builtin_convertvector(bits | ((u >> 16) & 0x8000u), Vh);
  __builtin_memcpy(p, &h, sizeof(h));
}

// How a type is held in registers: 16-bit floats as fp32, the others as they are.
template <class T>
struct InRegister {
  typedef T Value __attribute__((vector_size(TRIREME_VEC_BYTES)));
  typedef T Scalar;
  static constexpr int kCount = TRIREME_VEC_BYTES / sizeof(T);
  TRIREME_INLINE Value get(const T* p) {
    Value x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  TRIREME_INLINE void put(T* p, Value x) { __builtin_memcpy(p, &x, sizeof(x)); }
};
template <class T>
struct InFloatRegister {
  typedef Vf Value;
  typedef float Scalar;
  static constexpr int kCount = kLanes;
  TRIREME_INLINE Value get(const T* p) { return load(p); }
  TRIREME_INLINE void put(T* p, Value x) { store(p, x); }
};
template <>
struct InRegister<Bf16> : InFloatRegister<Bf16> {};
template <>
struct InRegister<Fp16> : InFloatRegister<Fp16> {};

// A NaN of either side stays.
template <Reduction op, class V>
TRIREME_INLINE V combine(V a, V b) {
  if constexpr (op == Reduction::kMin) return ((b < a) | (b != b)) ? b : a;
  if constexpr (op == Reduction::kMax) return ((b > a) | (b != b)) ? b : a;
  return a + b;
}

// kRegisters vectors from element i on: the loads of all sources are under way at once.
template <class T, Reduction op, int kRegisters>
TRIREME_INLINE void reduce_at(const void* const* src, int n_src, void* const* dst, int n_dst,
                              int64_t i) {
  typedef InRegister<T> R;
  typename R::Value x[kRegisters];
  for (int k = 0; k < kRegisters; ++k) x[k] = R::get(in<T>(src[0]) + i + k * R::kCount);
  for (int s = 1; s < n_src; ++s) {
    const T* from = in<T>(src[s]) + i;
    for (int k = 0; k < kRegisters; ++k) x[k] = combine<op>(x[k], R::get(from + k * R::kCount));
  }
  if constexpr (op == Reduction::kAvg) {
    for (int k = 0; k < kRegisters; ++k) x[k] /= static_cast<typename R::Scalar>(n_src);
  }
  for (int d = 0; d < n_dst; ++d) {
    T* to = out<T>(dst[d]) + i;
    for (int k = 0; k < kRegisters; ++k) R::put(to + k * R::kCount, x[k]);
  }
}

template <class T, Reduction op>
void reduce_all(const void* const* src, int n_src, void* const* dst, int n_dst, int64_t n) {
  constexpr int kCount = InRegister<T>::kCount;
  constexpr int kRegisters = 4;
  int64_t i = 0;
  for (; i + kRegisters * kCount <= n; i += kRegisters * kCount)
    reduce_at<T, op, kRegisters>(src, n_src, dst, n_dst, i);
  for (; i + kCount <= n; i += kCount) reduce_at<T, op, 1>(src, n_src, dst, n_dst, i);
  if (i == n) return;
  // The rest, one source after the other through a vector that is filled up with zeros.
  const size_t rest = static_cast<size_t>(n - i) * sizeof(T);
  T sum[kCount] = {}, next[kCount] = {};
  __builtin_memcpy(sum, in<T>(src[0]) + i, rest);
  typedef InRegister<T> R;
  typename R::Value x = R::get(sum);
  for (int s = 1; s < n_src; ++s) {
    __builtin_memcpy(next, in<T>(src[s]) + i, rest);
    x = combine<op>(x, R::get(next));
  }
  if constexpr (op == Reduction::kAvg) x /= static_cast<typename R::Scalar>(n_src);
  R::put(sum, x);
  for (int d = 0; d < n_dst; ++d) __builtin_memcpy(out<T>(dst[d]) + i, sum, rest);
}

template <class T>
void reduce(Reduction op, const void* const* src, int n_src, void* const* dst, int n_dst,
            int64_t n) {
  switch (op) {
    case Reduction::kSum:
      return reduce_all<T, Reduction::kSum>(src, n_src, dst, n_dst, n);
    case Reduction::kMin:
      return reduce_all<T, Reduction::kMin>(src, n_src, dst, n_dst, n);
    case Reduction::kMax:
      return reduce_all<T, Reduction::kMax>(src, n_src, dst, n_dst, n);
    case Reduction::kAvg:
      return reduce_all<T, Reduction::kAvg>(src, n_src, dst, n_dst, n);
  }
}
