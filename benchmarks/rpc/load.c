// The load of benchmarks/rpc.sh: one thread that replays gRPC calls over cleartext HTTP/2 and costs so little a call
// that one core of it keeps any server busy. Header blocks are made once; names and values go into the HPACK table of
// the connection with its first call, as real clients do, except the trace id, which differs from call to call. Of the
// answers only frame heads are read, and checked: each call ends with END_STREAM on HEADERS, none is reset, and the
// DATA that came is what was asked for. CPU is the server's own, of all its threads, while the load goes on.
//
//   load echo  PORT PID CONNECTIONS STREAMS CALLS BYTES    unary calls, so many at a time on each connection
//   load flow  PORT PID MESSAGES BYTES                     one server-streaming call, read as fast as it comes
//   load stall PORT PID MESSAGES BYTES SECONDS             the same, but nothing is taken for so long: frames are read,
//                                                          for PINGs want answers, but no window is opened
//
// Prints one line of key=value.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, MAX_FRAME = 16384, MAX_BODY = 2 << 20 };
enum { IN_SIZE = 1 << 20, OUT_SIZE = 8 << 20, MAX_UPLOADS = 64 };

struct block { uint8_t bytes[1024]; size_t count; };

// A call whose message is not all sent.
struct upload { uint32_t id; size_t offset; long window; };

struct connection {
    int fd;
    struct upload uploads[MAX_UPLOADS];
    int upload_count;
    long initial_window;  // of a stream, as the server's SETTINGS say
    uint32_t next_id;
    int in_flight;
    long window;         // of the connection, bytes we may still send
    bool is_first;       // its next call is its first
    bool waits_to_write;
    uint32_t credit;     // bytes received and not yet credited
    uint32_t flow_id;    // a streaming call's, whose window is credited too
    uint8_t *in, *out;
    size_t in_count, out_count, out_offset;
};

static uint8_t body[MAX_BODY];
static size_t body_count;
static struct block first_head, next_head;
static uint32_t trace_offset;  // of the trace id's digits in next_head, from its end
static long call_limit, started, finished, faults;
static size_t received;
static int epoll_fd, streams;
static bool is_stalled;

static void fail(const char *what) {
    fprintf(stderr, "load: %s (%s)\n", what, errno ? strerror(errno) : "no errno");
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// Nanoseconds on a CPU, of all threads of a process.
static uint64_t cpu_time(int pid) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *folder = opendir(path);
    if (!folder) return 0;
    uint64_t total = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        char file_name[600];
        snprintf(file_name, sizeof file_name, "%s/%s/schedstat", path, entry->d_name);
        FILE *file = fopen(file_name, "r");
        unsigned long long time;
        if (file && fscanf(file, "%llu", &time) == 1) total += time;
        if (file) fclose(file);
    }
    closedir(folder);
    return total;
}

// A line of /proc/PID/status in kB, such as "VmRSS:".
static long memory(int pid, const char *key) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    long kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key))) kilobytes = atol(line + strlen(key));
    if (file) fclose(file);
    return kilobytes;
}

// MARK: Frames

static void add(struct block *block, const void *bytes, size_t count) {
    memcpy(block->bytes + block->count, bytes, count);
    block->count += count;
}

static void add_byte(struct block *block, uint8_t byte) { add(block, &byte, 1); }

static void add_text(struct block *block, const char *text) {
    add_byte(block, strlen(text));
    add(block, text, strlen(text));
}

// A field that enters the dynamic table; its name comes from the static one if `index` is not 0.
static void add_field(struct block *block, int index, const char *name, const char *value) {
    add_byte(block, 0x40 | index);
    if (!index) add_text(block, name);
    add_text(block, value);
}

static void put(struct connection *c, const void *bytes, size_t count) {
    if (c->out_count + count > OUT_SIZE) fail("output buffer is full");
    memcpy(c->out + c->out_count, bytes, count);
    c->out_count += count;
}

static void put_head(struct connection *c, size_t length, int type, int flags, uint32_t id) {
    uint8_t head[9] = {length >> 16, length >> 8, length, type, flags, id >> 24, id >> 16, id >> 8, id};
    put(c, head, 9);
}

static void put_word(struct connection *c, uint32_t word) {
    uint8_t bytes[4] = {word >> 24, word >> 16, word >> 8, word};
    put(c, bytes, 4);
}

static uint32_t word(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

static void make_heads(int port, const char *path) {
    char authority[32];
    snprintf(authority, sizeof authority, "127.0.0.1:%d", port);
    // POST and http stand in the static table; the others get the dynamic table's 62 and on, the latest first.
    const uint8_t known[] = {0x83, 0x86};
    add(&first_head, known, 2);
    add_field(&first_head, 4, "", path);
    add_field(&first_head, 1, "", authority);
    add_field(&first_head, 0, "te", "trailers");
    add_field(&first_head, 31, "", "application/grpc");
    add_field(&first_head, 58, "", "vomma-load/1");
    add_field(&first_head, 0, "grpc-accept-encoding", "identity, deflate, gzip");
    add_field(&first_head, 0, "grpc-timeout", "300S");
    add_field(&first_head, 0, "x-tenant-id", "team-blue");
    add(&next_head, known, 2);
    for (int index = 69; index >= 62; index--) add_byte(&next_head, 0x80 | index);
    // Not indexed: another one each time.
    struct block *heads[] = {&first_head, &next_head};
    for (int i = 0; i < 2; i++) {
        add_byte(heads[i], 0);
        add_text(heads[i], "traceparent");
        add_text(heads[i], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa00000000-01");
    }
    trace_offset = 11;
}

static void put_call(struct connection *c) {
    struct block *head = c->is_first ? &first_head : &next_head;
    uint8_t *digits = head->bytes + head->count - trace_offset;
    for (int i = 0; i < 8; i++) digits[i] = "0123456789abcdef"[started >> (28 - 4 * i) & 15];
    put_head(c, head->count, HEADERS, END_HEADERS, c->next_id);
    put(c, head->bytes, head->count);
    c->is_first = false;
    struct upload *upload = c->uploads + c->upload_count++;
    *upload = (struct upload){c->next_id, 0, c->initial_window};
    c->next_id += 2;
    c->in_flight++;
    started++;
}

// Sends what the windows allow of a message. Whether it is all sent.
static bool send_body(struct connection *c, struct upload *upload) {
    while (upload->offset < body_count) {
        long count = body_count - upload->offset;
        if (count > MAX_FRAME) count = MAX_FRAME;
        if (count > upload->window) count = upload->window;
        if (count > c->window) count = c->window;
        if (count <= 0 || c->out_count + count + 16 > OUT_SIZE) return false;
        put_head(c, count, DATA, upload->offset + count == body_count ? END_STREAM : 0, upload->id);
        put(c, body + upload->offset, count);
        upload->offset += count;
        upload->window -= count;
        c->window -= count;
    }
    return true;
}

static void fill(struct connection *c) {
    for (int i = 0; i < c->upload_count;) {
        if (send_body(c, c->uploads + i)) c->uploads[i] = c->uploads[--c->upload_count];
        else i++;
    }
    while (c->in_flight < streams && started < call_limit && c->window >= 0 && c->upload_count < MAX_UPLOADS
           && c->out_count + 2048 < OUT_SIZE) {
        put_call(c);
        if (send_body(c, c->uploads + c->upload_count - 1)) c->upload_count--;
    }
}

static void watch(struct connection *c, bool writing) {
    if (c->waits_to_write == writing) return;
    c->waits_to_write = writing;
    struct epoll_event event = {EPOLLIN | (writing ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void flush(struct connection *c) {
    while (c->out_offset < c->out_count) {
        ssize_t count = send(c->fd, c->out + c->out_offset, c->out_count - c->out_offset, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN) fail("send");
            watch(c, true);
            return;
        }
        c->out_offset += count;
    }
    c->out_count = c->out_offset = 0;
    watch(c, false);
}

static void frame(struct connection *c, int type, int flags, uint32_t id, const uint8_t *payload, uint32_t length) {
    switch (type) {
    case DATA:
        received += length;
        c->credit += length;
        if (flags & END_STREAM) faults++, finished++, c->in_flight--;
        break;
    case HEADERS:
        if (flags & END_STREAM) finished++, c->in_flight--;
        break;
    case RST_STREAM: faults++, finished++, c->in_flight--; break;
    case SETTINGS:
        if (flags & ACK) break;
        for (uint32_t i = 0; i + 6 <= length; i += 6) {
            if (payload[i] != 0 || payload[i + 1] != 4) continue;
            long window = word(payload + i + 2);
            for (int j = 0; j < c->upload_count; j++) c->uploads[j].window += window - c->initial_window;
            c->initial_window = window;
        }
        put_head(c, 0, SETTINGS, ACK, 0);
        break;
    case PING:
        if (!(flags & ACK)) put_head(c, 8, PING, ACK, 0), put(c, payload, 8);
        break;
    case WINDOW_UPDATE:
        if (id == 0) c->window += word(payload) & 0x7fffffff;
        for (int i = 0; i < c->upload_count; i++)
            if (c->uploads[i].id == id) c->uploads[i].window += word(payload) & 0x7fffffff;
        break;
    case GOAWAY: errno = 0; fail("GOAWAY");
    }
}

static void give_credit(struct connection *c) {
    // Unary calls have a whole 2 GiB; a streaming call keeps to a window that asks for back-pressure.
    uint32_t threshold = c->flow_id ? 32 << 10 : 256 << 20;
    if (c->credit >= threshold) {
        put_head(c, 4, WINDOW_UPDATE, 0, 0);
        put_word(c, c->credit);
        if (c->flow_id) put_head(c, 4, WINDOW_UPDATE, 0, c->flow_id), put_word(c, c->credit);
        c->credit = 0;
    }
}

static void receive(struct connection *c) {
    ssize_t count = recv(c->fd, c->in + c->in_count, IN_SIZE - c->in_count, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) fail("connection closed");
    c->in_count += count;
    size_t offset = 0;
    while (c->in_count - offset >= 9) {
        uint8_t *p = c->in + offset;
        uint32_t length = p[0] << 16 | p[1] << 8 | p[2];
        if (c->in_count - offset < 9 + length) break;
        frame(c, p[3], p[4], word(p + 5) & 0x7fffffff, p + 9, length);
        offset += 9 + length;
    }
    c->in_count -= offset;
    memmove(c->in, c->in + offset, c->in_count);
    if (!is_stalled) give_credit(c);
}

static void open_connection(struct connection *c, int port, uint32_t stream_window, uint32_t window) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001)};
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(IN_SIZE);
    c->out = malloc(OUT_SIZE);
    c->next_id = 1;
    c->window = c->initial_window = 65535;
    c->is_first = true;
    struct epoll_event event = {EPOLLIN, {.ptr = c}};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    put(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_head(c, 6, SETTINGS, 0, 0);
    uint8_t initial_window[] = {0, 4};
    put(c, initial_window, 2);
    put_word(c, stream_window);
    if (window > 65535) put_head(c, 4, WINDOW_UPDATE, 0, 0), put_word(c, window - 65535);
    flush(c);
}

static void make_message(size_t count) {
    // The gRPC prefix, then field 1 of LoadMessage.
    uint8_t *p = body + 5;
    *p++ = 0x0a;
    for (size_t rest = count;; rest >>= 7) {
        *p++ = (rest & 0x7f) | (rest > 0x7f ? 0x80 : 0);
        if (rest <= 0x7f) break;
    }
    if (count > MAX_BODY - 16) fail("message is too long");
    for (size_t i = 0; i < count; i++) *p++ = i * 31;
    body_count = p - body;
    uint32_t length = body_count - 5;
    body[1] = length >> 24, body[2] = length >> 16, body[3] = length >> 8, body[4] = length;
}

static void run(struct connection *connections, int count, long calls, uint32_t *latencies) {
    started = finished = received = 0;
    call_limit = calls;
    uint64_t sent = now();
    for (int i = 0; i < count; i++) fill(connections + i), flush(connections + i);
    struct epoll_event events[64];
    while (finished < calls) {
        int ready = epoll_wait(epoll_fd, events, 64, 20000);
        if (ready == 0) errno = 0, fail("stalled");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            long before = finished;
            if (events[i].events & ~EPOLLOUT) receive(c);
            if (latencies && finished > before) {
                uint64_t time = now();
                latencies[finished - 1] = time - sent;
                sent = time;
            }
            fill(c);
            flush(c);
        }
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void echo(int port, int pid, int count, long calls, size_t byte_count) {
    make_heads(port, "/vomma.testing.v1.Load/Echo");
    make_message(byte_count);
    struct connection *connections = calloc(count, sizeof *connections);
    for (int i = 0; i < count; i++) open_connection(connections + i, port, 0x7fffffff, 0x7fffffff);
    // The first calls are for the tables, pools and branch predictors of the server.
    long warm_up = calls / 10 + count;
    run(connections, count, warm_up, NULL);
    bool one_at_a_time = count == 1 && streams == 1;
    uint32_t *latencies = one_at_a_time ? calloc(calls, sizeof *latencies) : NULL;
    uint64_t cpu = cpu_time(pid), begin = now();
    run(connections, count, calls, latencies);
    uint64_t end = now();
    cpu = cpu_time(pid) - cpu;
    if (received != calls * body_count) faults++;
    double seconds = (end - begin) / 1e9;
    printf("calls=%ld faults=%ld seconds=%.4f rate=%.0f cpu_ns=%.1f share=%.3f rss_kb=%ld megabytes_per_second=%.1f",
           calls, faults, seconds, calls / seconds, (double)cpu / calls, cpu / 1e9 / seconds, memory(pid, "VmRSS:"),
           calls * (double)byte_count / seconds / 1e6);
    if (latencies) {
        qsort(latencies, calls, sizeof *latencies, ascending);
        printf(" p50_us=%.1f p99_us=%.1f", latencies[calls / 2] / 1e3, latencies[calls / 100 * 99] / 1e3);
    }
    puts("");
}

static size_t put_varint(uint8_t *p, uint64_t value) {
    size_t count = 0;
    for (;; value >>= 7) {
        p[count++] = (value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        if (value <= 0x7f) return count;
    }
}

static void flow(int port, int pid, long messages, size_t byte_count, int stall_seconds) {
    make_message(byte_count);
    size_t message_count = body_count;
    // FlowRequest: count and size.
    uint8_t *p = body + 5;
    *p++ = 0x08, p += put_varint(p, messages);
    *p++ = 0x10, p += put_varint(p, byte_count);
    body_count = p - body;
    body[1] = body[2] = body[3] = 0, body[4] = body_count - 5;
    make_heads(port, "/vomma.testing.v1.Load/Flow");
    struct connection c = {0};
    open_connection(&c, port, 65535, 65535);
    c.flow_id = 1;
    int small = 64 << 10;
    // So that the kernel is no hiding place either.
    if (stall_seconds) setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    long before = memory(pid, "VmRSS:"), highest = before;
    if (stall_seconds) {
        streams = 1;
        call_limit = 1;
        is_stalled = true;
        fill(&c), flush(&c);
        for (int i = 0; i < 10 * stall_seconds; i++) {
            usleep(100000);
            receive(&c), flush(&c);
            long resident = memory(pid, "VmRSS:");
            if (resident > highest) highest = resident;
        }
        is_stalled = false;
        give_credit(&c), flush(&c);
    }
    uint64_t cpu = cpu_time(pid), begin = now();
    streams = 1;
    if (stall_seconds) {
        struct epoll_event event;
        while (finished < 1) {
            if (epoll_wait(epoll_fd, &event, 1, 20000) == 0) errno = 0, fail("stalled");
            receive(&c), flush(&c);
        }
    } else {
        run(&c, 1, 1, NULL);
    }
    double seconds = (now() - begin) / 1e9;
    cpu = cpu_time(pid) - cpu;
    if (received != messages * message_count) faults++;
    printf("messages=%ld faults=%ld seconds=%.4f rate=%.0f cpu_ns=%.1f rss_kb=%ld stalled_growth_kb=%ld\n", messages,
           faults, seconds, messages / seconds, (double)cpu / messages, memory(pid, "VmRSS:"), highest - before);
}

int main(int count, char **arguments) {
    epoll_fd = epoll_create1(0);
    if (count == 8 && !strcmp(arguments[1], "echo")) {
        streams = atoi(arguments[5]);
        echo(atoi(arguments[2]), atoi(arguments[3]), atoi(arguments[4]), atol(arguments[6]), atol(arguments[7]));
    } else if (count == 6 && !strcmp(arguments[1], "flow")) {
        flow(atoi(arguments[2]), atoi(arguments[3]), atol(arguments[4]), atol(arguments[5]), 0);
    } else if (count == 7 && !strcmp(arguments[1], "stall")) {
        flow(atoi(arguments[2]), atoi(arguments[3]), atol(arguments[4]), atol(arguments[5]), atoi(arguments[6]));
    } else {
        fprintf(stderr, "usage: see load.c\n");
        return 64;
    }
    return faults > 0;
}
