// To be preloaded into a program that cannot choose the address its connections come from: binds each before it connects.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

int connect(int socket, const struct sockaddr *address, socklen_t length) {
  int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  const char *from = getenv("SOURCE_ADDRESS");
  struct sockaddr_in source = {.sin_family = AF_INET};
  if (from && address->sa_family == AF_INET && inet_pton(AF_INET, from, &source.sin_addr) == 1) {
    int on = 1;
    // The port is chosen with the other end known, so that a port may serve for several.
    setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(socket, (const struct sockaddr *)&source, sizeof source) != 0) return -1;
  }
  return next(socket, address, length);
}
