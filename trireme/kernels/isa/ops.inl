// The row kernels, once for all instruction sets. ops_avx512.cc, ops_avx2.cc and ops_plain.cc
// define TRIREME_ISA_TABLE and TRIREME_ISA_NAME, are compiled with their own flags, and include
// this file. Arithmetic is fp32 whatever the element type.
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "trireme/kernels/isa/ops_table.h"

namespace trireme::kernels::isa {
namespace {

#include "trireme/kernels/isa/vec.h"

template <class T>
TRIREME_INLINE const T* in(const void* p) {
  return static_cast<const T*>(p);
}
template <class T>
TRIREME_INLINE T* out(void* p) {
  return static_cast<T*>(p);
}
TRIREME_INLINE int left(int64_t n, int64_t j) {
  return n - j < kLanes ? static_cast<int>(n - j) : kLanes;
}

// ---- dropout draws ----

// Blocks of 8 draws, kLanes blocks a call; the words of a block end up side by side in `out`.
TRIREME_INLINE void philox_lanes(uint32_t key0, uint32_t key1, Vu c0, uint32_t position,
                                 uint32_t sample, uint32_t site, uint16_t* out) {
  Vu c1 = splat_u(position), c2 = splat_u(sample), c3 = splat_u(site);
  for (int round = 0; round < 7; ++round) {
    Vu hi0, lo0, hi1, lo1;
    mul_hi_lo(c0, 0xD2511F53u, &hi0, &lo0);
    mul_hi_lo(c2, 0xCD9E8D57u, &hi1, &lo1);
    c0 = hi1 ^ c1 ^ key0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ key1;
    c3 = lo0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
#if TRIREME_VEC_BYTES == 64
  // A 4 x 16 transpose: first pairs of words, then quads, then the 128-bit pieces (blocks) into
  // order.
  __m512i a = _mm512_unpacklo_epi32((__m512i)c0, (__m512i)c1),
          b = _mm512_unpackhi_epi32((__m512i)c0, (__m512i)c1);
  __m512i c = _mm512_unpacklo_epi32((__m512i)c2, (__m512i)c3),
          d = _mm512_unpackhi_epi32((__m512i)c2, (__m512i)c3);
  __m512i q0 = _mm512_unpacklo_epi64(a, c), q1 = _mm512_unpackhi_epi64(a, c);
  __m512i q2 = _mm512_unpacklo_epi64(b, d), q3 = _mm512_unpackhi_epi64(b, d);
#define TRIREME_PIECE(i)                                                             \
  _mm_storeu_si128((__m128i*)(out + (i)*32), _mm512_extracti32x4_epi32(q0, i));      \
  _mm_storeu_si128((__m128i*)(out + (i)*32 + 8), _mm512_extracti32x4_epi32(q1, i));  \
  _mm_storeu_si128((__m128i*)(out + (i)*32 + 16), _mm512_extracti32x4_epi32(q2, i)); \
  _mm_storeu_si128((__m128i*)(out + (i)*32 + 24), _mm512_extracti32x4_epi32(q3, i));
  TRIREME_PIECE(0) TRIREME_PIECE(1) TRIREME_PIECE(2) TRIREME_PIECE(3)
#undef TRIREME_PIECE
#else
  uint32_t w[4][kLanes];
  __builtin_memcpy(w[0], &c0, sizeof(c0));
  __builtin_memcpy(w[1], &c1, sizeof(c1));
  __builtin_memcpy(w[2], &c2, sizeof(c2));
  __builtin_memcpy(w[3], &c3, sizeof(c3));
  for (int lane = 0; lane < kLanes; ++lane)
    for (int word = 0; word < 4; ++word) {
      out[lane * 8 + word * 2] = static_cast<uint16_t>(w[word][lane]);
      out[lane * 8 + word * 2 + 1] = static_cast<uint16_t>(w[word][lane] >> 16);
    }
#endif
}

// Draws come in runs of one block a lane.
constexpr int kDrawRun = 8 * kLanes;

// draws of elements [first, first + count) of a row; first is a multiple of 8, out holds count
// rounded up to kDrawRun.
TRIREME_INLINE void draw_run(const RowDropout& drop, int32_t sample, int32_t position,
                             int64_t first, int64_t count, uint16_t* out) {
  Vu lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = static_cast<uint32_t>(i);
  for (int64_t e = 0; e < count; e += kDrawRun) {
    philox_lanes(drop.key0, drop.key1, lane + static_cast<uint32_t>((first + e) / 8),
                 static_cast<uint32_t>(position), static_cast<uint32_t>(sample), drop.site,
                 out + e);
  }
}

constexpr int64_t kDrawBuffer = 1024;  // elements a refill; a multiple of kDrawRun for every width

// A row's draws from element `start` on, refilled as the row goes on: keep(j), of the elements from
// start + j, for j = 0, kLanes, 2 kLanes, ...
struct RowDraws {
  const RowDropout& drop;
  const int32_t sample, position;
  const int64_t n;
  const int64_t block = 0;  // start's block of 8 draws: where the buffer begins
  const int64_t skip = 0;   // elements of it before start
  int64_t filled = 0;
  uint16_t buffer[kDrawBuffer + kDrawRun];  // not initialised: keep() fills it

  RowDraws(const RowDropout& drop, int32_t sample, int32_t position, int64_t n)
      : drop(drop), sample(sample), position(position), n(n) {}
  RowDraws(const RowDropout& drop, int32_t sample, int32_t position, int64_t start, int64_t n)
      : drop(drop),
        sample(sample),
        position(position),
        n(n),
        block(start / 8 * 8),
        skip(start % 8) {}
  // The draws of row t of a matrix.
  RowDraws(const RowDropout& drop, int64_t t, int64_t n)
      : RowDraws(drop, drop.threshold ? drop.row_sample[t] : 0,
                 drop.threshold ? drop.row_position[t] : 0, n) {}
  // scale where the element is kept, 0 where it is dropped.
  inline __attribute__((always_inline)) Vf keep(int64_t j) {
    if (j >= filled) {
      int64_t count = n - filled < kDrawBuffer ? n - filled : kDrawBuffer;
      draw_run(drop, sample, position, block + filled, skip + count, buffer);
      filled += kDrawBuffer;
    }
    Vh h;
    __builtin_memcpy(&h, buffer + j % kDrawBuffer + skip, sizeof(h));
    Vi kept = (Vi)(__builtin_convertvector(h, Vu)) >= static_cast<int32_t>(drop.threshold);
    return select(kept, splat(drop.scale), Vf{});
  }
};

void draws(const RowDropout& drop, int32_t sample, int32_t position, uint16_t* out, int64_t n) {
  draw_run(drop, sample, position, 0, n, out);
}

// ---- GELU ----

// Phi(x), the normal distribution function, and e^(-x^2/2), from one exponential. Abramowitz and
// Stegun 7.1.26: absolute error of erf at most 1.5e-7.
TRIREME_INLINE Vf normal_cdf(Vf x, Vf* gauss) {
  Vf ax = x < 0.0f ? -x : x;
  Vf t = 1.0f / (1.0f + ax * (0.3275911f * 0.70710678118654752f));
  Vf e = vexp(x * x * -0.5f);
  Vf poly = t * (0.254829592f +
                 t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  Vf half_tail = poly * e * 0.5f;  // (1 - erf(|x| / sqrt 2)) / 2
  *gauss = e;
  return x < 0.0f ? half_tail : 1.0f - half_tail;
}

// gelu(x) = x * share(x), and its derivative.
struct GeluParts {
  Vf share, derivative;
};
// Phi(x).
struct GeluErf {
  TRIREME_INLINE GeluParts of(Vf x) {
    Vf gauss, cdf = normal_cdf(x, &gauss);
    return {cdf, cdf + x * gauss * 0.3989422804014327f};
  }
};
// (1 + tanh u) / 2 = 1 / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanh {
  TRIREME_INLINE GeluParts of(Vf x) {
    constexpr float kLinear = 1.5957691216057308f;  // 2 sqrt(2 / pi)
    constexpr float kCubic = kLinear * 0.044715f;
    Vf squared = x * x;
    Vf share = 1.0f / (1.0f + vexp(-x * (squared * kCubic + kLinear)));
    return {share, share + x * share * (1.0f - share) * (squared * (3.0f * kCubic) + kLinear)};
  }
};

template <class Form, class T>
void gelu_rows(const void* h_, const void* bias_, void* y_, int64_t n, int64_t begin, int64_t end) {
  const T *h = in<T>(h_), *bias = in<T>(bias_);
  T* y = out<T>(y_);
  for (int64_t t = begin; t < end; ++t)
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf x = load_some(h + t * n + j, m) + load_some(bias + j, m);
      store_some(y + t * n + j, x * Form::of(x).share, m);
    }
}

template <class T>
void bias_gelu(bool tanh_form, const void* h, const void* bias, void* y, int64_t n, int64_t begin,
               int64_t end) {
  const auto rows = tanh_form ? gelu_rows<GeluTanh, T> : gelu_rows<GeluErf, T>;
  rows(h, bias, y, n, begin, end);
}

template <class Form, class T>
void gelu_rows_backward(const void* dy_, const void* h_, const void* bias_, void* dh_,
                        float* bias_grad, int64_t n, int64_t begin, int64_t end) {
  const T *dy = in<T>(dy_), *h = in<T>(h_), *bias = in<T>(bias_);
  T* dh = out<T>(dh_);
  for (int64_t t = begin; t < end; ++t)
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf x = load_some(h + t * n + j, m) + load_some(bias + j, m);
      Vf d = load_some(dy + t * n + j, m) * Form::of(x).derivative;
      store_some(dh + t * n + j, d, m);
      store_some(bias_grad + j, load_some(bias_grad + j, m) + d, m);
    }
}

template <class T>
void bias_gelu_backward(bool tanh_form, const void* dy, const void* h, const void* bias, void* dh,
                        float* bias_grad, int64_t n, int64_t begin, int64_t end) {
  const auto rows = tanh_form ? gelu_rows_backward<GeluTanh, T> : gelu_rows_backward<GeluErf, T>;
  rows(dy, h, bias, dh, bias_grad, n, begin, end);
}

// ---- dropout, residual, layer norm ----

template <class T>
void dropout_add_norm(const void* y_, const void* bias_, const void* residual_, const void* gamma_,
                      const void* beta_, float epsilon, const RowDropout& drop, void* s_, void* z_,
                      float* mean, float* rstd, int64_t n, int64_t begin, int64_t end) {
  const T *y = in<T>(y_), *bias = in<T>(bias_), *residual = in<T>(residual_),
          *gamma = in<T>(gamma_), *beta = in<T>(beta_);
  T *s = out<T>(s_), *z = out<T>(z_);
  const T* summed = s ? s : y;
  const float inv_n = 1.0f / static_cast<float>(n);
  for (int64_t t = begin; t < end; ++t) {
    RowDraws rows(drop, t, n);
    Vf sum{};
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      if (s) {
        Vf x = load_some(y + t * n + j, m);
        if (bias) x += load_some(bias + j, m);
        if (drop.threshold) x *= rows.keep(j);
        if (residual) x += load_some(residual + t * n + j, m);
        store_some(s + t * n + j, x, m);
      }
      sum += load_some(summed + t * n + j, m);  // as stored: backward sees the same value
    }
    float mu = hsum(sum) * inv_n;
    Vf squares{};
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf d = load_some(summed + t * n + j, m) - mu;
      if (m < kLanes)
        for (int i = m; i < kLanes; ++i) d[i] = 0.0f;
      squares += d * d;
    }
    float r = 1.0f / __builtin_sqrtf(hsum(squares) * inv_n + epsilon);
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf x = (load_some(summed + t * n + j, m) - mu) * r;
      store_some(z + t * n + j, x * load_some(gamma + j, m) + load_some(beta + j, m), m);
    }
    mean[t] = mu;
    rstd[t] = r;
  }
}

template <class T>
void dropout_add_norm_backward(const void* dz_, const void* ds_used_, const void* s_,
                               const void* gamma_, const float* mean, const float* rstd,
                               const RowDropout& drop, void* ds_, void* dy_, float* bias_grad,
                               float* gamma_grad, float* beta_grad, int64_t n, int64_t begin,
                               int64_t end) {
  const T *dz = in<T>(dz_), *ds_used = in<T>(ds_used_), *s = in<T>(s_), *gamma = in<T>(gamma_);
  T *ds = out<T>(ds_), *dy = out<T>(dy_);
  const float inv_n = 1.0f / static_cast<float>(n);
  for (int64_t t = begin; t < end; ++t) {
    const float mu = mean[t], r = rstd[t];
    Vf sum_g{}, sum_gx{};
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf d = load_some(dz + t * n + j, m);
      Vf x = (load_some(s + t * n + j, m) - mu) * r;
      Vf g = d * load_some(gamma + j, m);
      sum_g += g;
      sum_gx += g * x;
      store_some(gamma_grad + j, load_some(gamma_grad + j, m) + d * x, m);
      store_some(beta_grad + j, load_some(beta_grad + j, m) + d, m);
    }
    const float mean_g = hsum(sum_g) * inv_n, mean_gx = hsum(sum_gx) * inv_n;
    RowDraws rows(drop, t, n);
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf x = (load_some(s + t * n + j, m) - mu) * r;
      Vf d = (load_some(dz + t * n + j, m) * load_some(gamma + j, m) - mean_g - x * mean_gx) * r;
      if (ds_used) d += load_some(ds_used + t * n + j, m);
      store_some(ds + t * n + j, d, m);
      if (drop.threshold) {
        d *= rows.keep(j);
        store_some(dy + t * n + j, d, m);
      }
      if (bias_grad) store_some(bias_grad + j, load_some(bias_grad + j, m) + d, m);
    }
  }
}

template <class T>
void dropout_add(const void* y_, const void* bias_, const void* residual_, const RowDropout& drop,
                 void* s_, int64_t n, int64_t begin, int64_t end) {
  const T *y = in<T>(y_), *bias = in<T>(bias_), *residual = in<T>(residual_);
  T* s = out<T>(s_);
  for (int64_t t = begin; t < end; ++t) {
    RowDraws rows(drop, t, n);
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf x = load_some(y + t * n + j, m) + load_some(bias + j, m);
      if (drop.threshold) x *= rows.keep(j);
      store_some(s + t * n + j, x + load_some(residual + t * n + j, m), m);
    }
  }
}

template <class T>
void dropout(const void* x_, const RowDropout& drop, void* y_, int64_t n, int64_t begin,
             int64_t end) {
  const T* x = in<T>(x_);
  T* y = out<T>(y_);
  for (int64_t t = begin; t < end; ++t) {
    RowDraws rows(drop, t, n);
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      store_some(y + t * n + j, load_some(x + t * n + j, m) * rows.keep(j), m);
    }
  }
}

template <class T>
void column_sums(const void* x_, float* sums, int64_t n, int64_t begin, int64_t end) {
  const T* x = in<T>(x_);
  for (int64_t t = begin; t < end; ++t)
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      store_some(sums + j, load_some(sums + j, m) + load_some(x + t * n + j, m), m);
    }
}

// ---- embeddings ----

template <class T>
void embedding_sum(const void* a_, const int64_t* ia, const void* b_, const int64_t* ib,
                   const void* c_, const int64_t* ic, void* y_, int64_t n, int64_t begin,
                   int64_t end) {
  const T *a = in<T>(a_), *b = in<T>(b_), *c = in<T>(c_);
  T* y = out<T>(y_);
  for (int64_t t = begin; t < end; ++t)
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      Vf x = load_some(a + ia[t] * n + j, m) + load_some(b + ib[t] * n + j, m);
      if (c) x += load_some(c + ic[t] * n + j, m);
      store_some(y + t * n + j, x, m);
    }
}

template <class T>
void scatter_add(const void* x_, const int64_t* index, float* table, int64_t n, int64_t begin,
                 int64_t end) {
  const T* x = in<T>(x_);
  for (int64_t t = begin; t < end; ++t) {
    float* row = table + index[t] * n;
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      store_some(row + j, load_some(row + j, m) + load_some(x + t * n + j, m), m);
    }
  }
}

// ---- attention ----

// Of `keys` keys from first_key on, how many the query at `position` sees.
TRIREME_INLINE int64_t seen_keys(bool causal, int64_t position, int64_t first_key, int64_t keys) {
  if (!causal || position - first_key + 1 >= keys) return keys;
  return position < first_key ? 0 : position - first_key + 1;
}

// Lanes [m, kLanes) set to `value`.
TRIREME_INLINE Vf fill_tail(Vf x, int m, float value) {
  for (int i = m; i < kLanes; ++i) x[i] = value;
  return x;
}

template <class T>
void softmax(float* scores, float scale, bool causal, const RowDropout& drop, int32_t sample,
             int32_t first_position, int32_t first_key, void* probs_, float* lse, int64_t rows,
             int64_t keys) {
  T* probs = out<T>(probs_);
  for (int64_t i = 0; i < rows; ++i) {
    float* x = scores + i * keys;
    T* p = probs + i * keys;
    const int64_t seen = seen_keys(causal, first_position + i, first_key, keys);
    if (seen == 0) {
      lse[i] = -__builtin_inff();
      __builtin_memset(p, 0, static_cast<size_t>(keys) * sizeof(T));
      continue;
    }
    Vf top = splat(-__builtin_inff());
    for (int64_t j = 0; j < seen; j += kLanes) {
      int m = left(seen, j);
      Vf v = load_some(x + j, m);
      top = vmax(top, m < kLanes ? fill_tail(v, m, -__builtin_inff()) : v);
    }
    // The largest scaled score; scale may not be negative.
    const float peak = hmax(top) * scale;
    Vf sum{};
    for (int64_t j = 0; j < seen; j += kLanes) {
      int m = left(seen, j);
      Vf e = vexp(load_some(x + j, m) * scale - peak);
      sum += m < kLanes ? fill_tail(e, m, 0.0f) : e;
      store_some(x + j, e, m);
    }
    const float total = hsum(sum);
    const float inverse = 1.0f / total;
    lse[i] = peak + __builtin_logf(total);
    RowDraws draws(drop, sample, static_cast<int32_t>(first_position + i), first_key, seen);
    for (int64_t j = 0; j < seen; j += kLanes) {
      int m = left(seen, j);
      Vf v = load_some(x + j, m) * inverse;
      if (drop.threshold) v *= draws.keep(j);
      store_some(p + j, v, m);
    }
    for (int64_t j = seen; j < keys; ++j) p[j] = T{};
  }
}

template <class T>
void softmax_backward(const float* scores, const float* d_probs, const float* lse,
                      const float* delta, float scale, bool causal, const RowDropout& drop,
                      int32_t sample, int32_t first_position, int32_t first_key, void* probs_,
                      void* d_scores_, int64_t rows, int64_t keys) {
  T *probs = out<T>(probs_), *d_scores = out<T>(d_scores_);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t seen = seen_keys(causal, first_position + i, first_key, keys);
    RowDraws draws(drop, sample, static_cast<int32_t>(first_position + i), first_key, seen);
    T *p_row = probs + i * keys, *d_row = d_scores + i * keys;
    for (int64_t j = 0; j < seen; j += kLanes) {
      int m = left(seen, j);
      Vf p = vexp(load_some(scores + i * keys + j, m) * scale - lse[i]);
      Vf d = load_some(d_probs + i * keys + j, m);
      Vf kept = p;
      if (drop.threshold) {
        Vf keep = draws.keep(j);
        d *= keep;
        kept *= keep;
      }
      store_some(p_row + j, kept, m);
      store_some(d_row + j, p * (d - delta[i]) * scale, m);
    }
    for (int64_t j = seen; j < keys; ++j) p_row[j] = T{}, d_row[j] = T{};
  }
}

template <class T>
void row_dots(const void* a_, int64_t a_stride, const void* b_, int64_t b_stride, float* delta,
              int64_t rows, int64_t n) {
  const T *a = in<T>(a_), *b = in<T>(b_);
  for (int64_t i = 0; i < rows; ++i) {
    Vf sum{};
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      sum += load_some(a + i * a_stride + j, m) * load_some(b + i * b_stride + j, m);
    }
    delta[i] = hsum(sum);
  }
}

template <class T>
void store_rows(const float* x, int64_t x_stride, void* y_, int64_t y_stride, int64_t rows,
                int64_t n) {
  T* y = out<T>(y_);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < n; j += kLanes) {
      int m = left(n, j);
      store_some(y + i * y_stride + j, load_some(x + i * x_stride + j, m), m);
    }
}

// ---- cross entropy ----

TRIREME_INLINE float scalar(float x) {
  return x;
}
TRIREME_INLINE float scalar(Bf16 x) {
  uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  __builtin_memcpy(&f, &u, sizeof(f));
  return f;
}

// The largest of n values, and the sum of their exponentials relative to it.
struct RowSum {
  float peak, total;
};

template <class T>
RowSum exp_sum(const T* x, int64_t n) {
  Vf top = splat(-__builtin_inff());
  for (int64_t j = 0; j < n; j += kLanes) {
    int m = left(n, j);
    Vf v = load_some(x + j, m);
    top = vmax(top, m < kLanes ? fill_tail(v, m, -__builtin_inff()) : v);
  }
  const float peak = hmax(top);
  Vf sum{};
  for (int64_t j = 0; j < n; j += kLanes) {
    int m = left(n, j);
    Vf e = vexp(load_some(x + j, m) - peak);
    sum += m < kLanes ? fill_tail(e, m, 0.0f) : e;
  }
  return {peak, hsum(sum)};
}

// x becomes (softmax - onehot(label)) * scale, where sum is of the whole row; no label in x: none
// of [0, n).
template <class T>
void cross_entropy_row_gradient(T* x, RowSum sum, int64_t label, float scale, int64_t n) {
  const float factor = scale / sum.total;
  Vf hit = splat(scale);
  for (int64_t j = 0; j < n; j += kLanes) {
    int m = left(n, j);
    Vf g = vexp(load_some(x + j, m) - sum.peak) * factor;
    if (label >= j && label < j + m) g[label - j] -= hit[0];
    store_some(x + j, g, m);
  }
}

template <class T>
void set_zero(T* x, int64_t n) {
  __builtin_memset(x, 0, static_cast<size_t>(n) * sizeof(T));
}

template <class T>
void cross_entropy(void* logits_, const int64_t* labels, float grad_scale, double* loss_sum,
                   int64_t n, int64_t begin, int64_t end) {
  T* logits = out<T>(logits_);
  double loss = 0.0;
  for (int64_t t = begin; t < end; ++t) {
    T* x = logits + t * n;
    if (labels[t] < 0) {
      set_zero(x, n);
      continue;
    }
    const RowSum sum = exp_sum(x, n);
    const float lse = sum.peak + __builtin_logf(sum.total);
    loss += static_cast<double>(lse - scalar(x[labels[t]]));
    cross_entropy_row_gradient(x, sum, labels[t], grad_scale, n);
  }
  *loss_sum += loss;
}

template <class T>
void cross_entropy_part_sums(const void* logits_, const int64_t* labels, int64_t first, float* sums,
                             int64_t n, int64_t begin, int64_t end) {
  const T* logits = in<T>(logits_);
  for (int64_t t = begin; t < end; ++t) {
    const T* x = logits + t * n;
    const int64_t label = labels[t] - first;
    const RowSum sum = labels[t] < 0 ? RowSum{0.0f, 0.0f} : exp_sum(x, n);
    sums[3 * t] = sum.peak;
    sums[3 * t + 1] = sum.total;
    sums[3 * t + 2] = labels[t] >= 0 && label >= 0 && label < n ? scalar(x[label]) : 0.0f;
  }
}

template <class T>
void cross_entropy_part_gradient(void* logits_, const int64_t* labels, int64_t first,
                                 const float* sums, float grad_scale, int64_t n, int64_t begin,
                                 int64_t end) {
  T* logits = out<T>(logits_);
  for (int64_t t = begin; t < end; ++t) {
    T* x = logits + t * n;
    if (labels[t] < 0) {
      set_zero(x, n);
    } else {
      cross_entropy_row_gradient(x, RowSum{sums[3 * t], sums[3 * t + 1]}, labels[t] - first,
                                 grad_scale, n);
    }
  }
}

template <class T>
constexpr ElementOps element_ops() {
  return {bias_gelu<T>,
          bias_gelu_backward<T>,
          dropout_add_norm<T>,
          dropout_add_norm_backward<T>,
          dropout_add<T>,
          dropout<T>,
          column_sums<T>,
          embedding_sum<T>,
          scatter_add<T>,
          softmax<T>,
          softmax_backward<T>,
          row_dots<T>,
          store_rows<T>,
          cross_entropy<T>,
          cross_entropy_part_sums<T>,
          cross_entropy_part_gradient<T>};
}

#include "trireme/kernels/isa/reduce.inl"

constexpr ReduceOps kReduceOps{reduce<float>, reduce<double>,  reduce<Fp16>,
                               reduce<Bf16>,  reduce<int32_t>, reduce<int64_t>};

}  // namespace

extern const OpsTable TRIREME_ISA_TABLE;
const OpsTable TRIREME_ISA_TABLE = {TRIREME_ISA_NAME, element_ops<float>(), element_ops<Bf16>(),
                                    kReduceOps, draws};

}  // namespace trireme::kernels::isa
