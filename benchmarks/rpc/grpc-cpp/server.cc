// The peer of benchmarks/rpc.sh in C++: gRPC's callback API, its fastest. Serves on a free port of loopback and prints
// `listening port=…`.
#include <cstdio>
#include <string>

#include <grpcpp/grpcpp.h>

#include "vomma/testing/v1/load.grpc.pb.h"

namespace load = vomma::testing::v1;

class Service final : public load::Load::CallbackService {
    grpc::ServerUnaryReactor* Echo(grpc::CallbackServerContext* context, const load::LoadMessage* request,
                                   load::LoadMessage* response) override {
        response->set_body(request->body());
        grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }

    grpc::ServerWriteReactor<load::LoadMessage>* Flow(grpc::CallbackServerContext*,
                                                      const load::FlowRequest* request) override {
        class Writer final : public grpc::ServerWriteReactor<load::LoadMessage> {
        public:
            Writer(long count, int size) : left_(count) {
                message_.set_body(std::string(size, 7));
                Next();
            }
            void OnWriteDone(bool ok) override {
                if (ok) Next();
                else Finish(grpc::Status::CANCELLED);
            }
            void OnDone() override { delete this; }

        private:
            void Next() {
                if (left_-- > 0) StartWrite(&message_);
                else Finish(grpc::Status::OK);
            }
            long left_;
            load::LoadMessage message_;
        };
        return new Writer(request->count(), request->size());
    }
};

int main() {
    Service service;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.SetMaxReceiveMessageSize(8 << 20);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    auto server = builder.BuildAndStart();
    if (!server) return 1;
    std::printf("listening port=%d\n", port);
    std::fflush(stdout);
    server->Wait();
}
