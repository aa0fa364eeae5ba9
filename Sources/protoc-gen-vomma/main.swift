import SwiftProtobufPluginLibrary
print("x")
