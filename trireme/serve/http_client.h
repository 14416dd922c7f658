// A small blocking HTTP/1.1 client: one connection, kept alive between requests, one deadline a
// request.
//
//   HttpClient client("127.0.0.1", 8080);
//   HttpResult result = client.post("/v1/qa", R"({"question": "...", "context": "..."})");
//
// Answers of any status are results. No connection, a deadline passed, or something that is not
// HTTP is a run error that names the address. Not for several threads at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "trireme/serve/http.h"

namespace trireme::serve {

struct HttpResult {
  int status = 0;
  Headers headers;
  std::string body;
};

class HttpClient {
 public:
  HttpClient(std::string host, uint16_t port,
             std::chrono::milliseconds timeout = std::chrono::seconds(30));
  ~HttpClient();

  HttpResult get(const std::string& path);
  HttpResult post(const std::string& path, const std::string& json_body);
  HttpResult request(const std::string& method, const std::string& path, const std::string& body,
                     const Headers& headers);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::serve
