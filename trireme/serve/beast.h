// Boost.Asio and Beast, for the .cc files of this folder only: no public header includes them.
#pragma once

// clang 14 (clang-tidy, fuzz builds) has the coroutines of C++20 but not yet the macro that says
// so.
#if defined(__clang__) && !defined(__cpp_impl_coroutine)
#define __cpp_impl_coroutine 201902L  // NOLINT
#endif

// ThreadSanitizer knows no fences; Asio's own are only for handlers that touch state without a lock
// or a strand.
#if defined(__SANITIZE_THREAD__)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK
#endif

#include <boost/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace trireme::serve {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using boost::beast::flat_buffer;
using boost::system::error_code;
using Tcp = asio::ip::tcp;

// co_await op(..., kAwait) gives a tuple that begins with the error code; nothing throws.
inline constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

}  // namespace trireme::serve
