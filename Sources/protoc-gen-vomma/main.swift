// protoc-gen-vomma makes Sources/VommaProto/Generated from the .proto files, in two roles: proto/generate.sh runs both.
//
//   protoc --plugin=protoc-gen-vomma --vomma_out=DIR …   the plug-in: Swift types, services, clients, descriptors
//   protoc-gen-vomma wire-schema IN OUT                  rewrites a FileDescriptorSet into the one that protoc-c reads

internal import Foundation
internal import SwiftProtobuf
internal import SwiftProtobufPluginLibrary

if CommandLine.arguments.count == 4, CommandLine.arguments[1] == "wire-schema" {
    let input = try Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[2]))
    let schema = try WireSchema.rewrite(Google_Protobuf_FileDescriptorSet(serializedBytes: input))
    let output: Data = try schema.serializedBytes()
    try output.write(to: URL(fileURLWithPath: CommandLine.arguments[3]))
} else {
    Generator.main()
}
