internal import CNGHTTP2
private import Glibc

/// Headers as flat bytes: one buffer, and for each field where its name and value are. No allocation a field.
///
struct HeaderFields: Sendable {
    /// Where a field is: its value follows its name.
    struct Field {
        var start: Int
        var middle: Int
        var end: Int
        var kind = HeaderName.custom

        var name: Range<Int> { start..<middle }
        var value: Range<Int> { middle..<end }
    }

    /// The fields' bytes, and room for more: only the first `byteCount` mean anything.
    private(set) var bytes: [UInt8] = []
    private(set) var byteCount = 0
    private(set) var fields: [Field] = []

    init() {}

    init(_ pairs: KeyValuePairs<String, String>) {
        for (name, value) in pairs { append(name, value.utf8) }
    }

    var count: Int { fields.count }

    /// The fields as nghttp2 wants them, valid inside `body`; it copies them.
    func withNameValues<Result>(_ body: (UnsafeBufferPointer<nghttp2_nv>) -> Result) -> Result {
        unsafe bytes.withUnsafeBufferPointer { bytes in
            unsafe withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: count) { nameValues in
                // Never written through: nghttp2 declares the pointers mutable, and copies.
                let base = unsafe UnsafeMutablePointer(mutating: bytes.baseAddress)
                unsafe write(nameValues, base: base, flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue))
                return unsafe body(UnsafeBufferPointer(nameValues))
            }
        }
    }

    fileprivate func write(
        _ target: UnsafeMutableBufferPointer<nghttp2_nv>, base: UnsafeMutablePointer<UInt8>?, flags: UInt8
    ) {
        for (index, field) in fields.enumerated() {
            unsafe target.initializeElement(
                at: index,
                to: nghttp2_nv(
                    name: base.map { unsafe $0 + field.start }, value: base.map { unsafe $0 + field.middle },
                    namelen: field.middle - field.start, valuelen: field.end - field.middle, flags: flags))
        }
    }

    mutating func append(_ name: String, _ value: some Sequence<UInt8>) {
        bytes.removeLast(bytes.count - byteCount)
        let start = byteCount
        bytes.append(contentsOf: name.utf8)
        let middle = bytes.count
        bytes.append(contentsOf: value)
        byteCount = bytes.count
        let kind = HeaderName(bytes.span.extracting(start..<middle))
        fields.append(Field(start: start, middle: middle, end: byteCount, kind: kind))
    }

    /// Takes one received field: two copies into room that is there already.
    mutating func append(_ kind: HeaderName, name: Span<UInt8>, value: Span<UInt8>) {
        let middle = byteCount + name.count
        let end = middle + value.count
        if bytes.count < end { bytes.append(contentsOf: repeatElement(0, count: max(256, end))) }
        unsafe bytes.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            unsafe name.withUnsafeBufferPointer { name in
                if let source = name.baseAddress { unsafe memcpy(base + byteCount, source, name.count) }
            }
            unsafe value.withUnsafeBufferPointer { value in
                if let source = value.baseAddress { unsafe memcpy(base + middle, source, value.count) }
            }
        }
        fields.append(Field(start: byteCount, middle: middle, end: end, kind: kind))
        byteCount = end
    }

    /// Takes some fields of others, which lie one behind the other.
    mutating func append(_ other: HeaderFields, _ range: Range<Int>) {
        guard let first = range.first, let last = range.last else { return }
        let source = other.fields[first].start..<other.fields[last].end
        let shift = byteCount - source.lowerBound
        let end = byteCount + source.count
        if bytes.count < end { bytes.append(contentsOf: repeatElement(0, count: max(256, end))) }
        unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe other.bytes.withUnsafeBytes { other in
                let part = unsafe UnsafeRawBufferPointer(rebasing: other[source])
                unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[byteCount..<end]).copyMemory(from: part)
            }
        }
        let before = fields.count
        unsafe other.fields.withUnsafeBufferPointer {
            unsafe fields.append(contentsOf: UnsafeBufferPointer(rebasing: $0[range]))
        }
        unsafe fields.withUnsafeMutableBufferPointer { fields in
            for index in before..<fields.count {
                unsafe fields[index].start &+= shift
                unsafe fields[index].middle &+= shift
                unsafe fields[index].end &+= shift
            }
        }
        byteCount = end
    }

    mutating func append(_ metadata: Metadata) {
        for entry in metadata.entries {
            switch entry.value {
            case .text(let text): append(entry.key, text.utf8)
            case .binary(let bytes): append(entry.key, Base64.encode(bytes))
            }
        }
    }

    /// Removes the first `count` fields and moves the rest to the front.
    mutating func removeFirst(_ count: Int) {
        guard count < fields.count else {
            fields.removeAll(keepingCapacity: true)
            byteCount = 0
            return
        }
        var rest = HeaderFields()
        for field in fields[count...] {
            rest.append(String(decoding: bytes[field.name], as: UTF8.self), bytes[field.value])
        }
        self = rest
    }

    /// Whether all of these are the application's.
    func areCustom(_ range: Range<Int>) -> Bool { range.allSatisfy { fields[$0].kind == .custom } }

    func nameIs(_ index: Int, _ name: StaticString) -> Bool {
        Self.equal(bytes.span, fields[index].start, fields[index].middle, name)
    }
    func valueIs(_ index: Int, _ value: StaticString) -> Bool {
        Self.equal(bytes.span, fields[index].middle, fields[index].end, value)
    }
    func value(_ index: Int) -> ArraySlice<UInt8> { bytes[fields[index].value] }
    func name(_ index: Int) -> String { String(decoding: bytes[fields[index].name], as: UTF8.self) }

    /// Whether a part of the bytes is this text. Inlined with a literal it is a comparison of machine words.
    @inline(__always)
    static func equal(_ bytes: Span<UInt8>, _ start: Int, _ end: Int, _ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard end - start == count else { return false }
        return unsafe bytes.withUnsafeBufferPointer { bytes in
            guard start >= 0, end <= bytes.count, let base = bytes.baseAddress else { return false }
            return unsafe memcmp(base + start, text.utf8Start, count) == 0
        }
    }

    /// A decimal number of at most nine digits.
    static func number(_ text: ArraySlice<UInt8>) -> Int? {
        guard !text.isEmpty, text.count <= 9 else { return nil }
        var value = 0
        for byte in text {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return value
    }
}

/// Headers for sending over and over: nghttp2 refers to them, and copies nothing.
///
/// `@unchecked Sendable`: the memory never changes, and is never freed.
@safe struct KeptHeaders: @unchecked Sendable {
    /// As nghttp2 wants them.
    let nameValues: UnsafeBufferPointer<nghttp2_nv>
    /// As a header block: literals, which need nothing of HPACK's table and leave nothing in it.
    let block: UnsafeRawBufferPointer

    /// - Precondition: names and values are shorter than 127 bytes.
    init(_ headers: HeaderFields) {
        let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: headers.byteCount)
        _ = unsafe bytes.initialize(from: headers.bytes.prefix(headers.byteCount))
        let flags = NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue
        let nameValues = UnsafeMutableBufferPointer<nghttp2_nv>.allocate(capacity: headers.count)
        unsafe headers.write(nameValues, base: bytes.baseAddress, flags: UInt8(flags))
        unsafe self.nameValues = UnsafeBufferPointer(nameValues)
        var literals: [UInt8] = []
        for field in headers.fields {
            precondition(max(field.name.count, field.value.count) < 127, "kept headers are short")
            // RFC 7541 section 6.2.2: a literal without indexing, with a new name.
            literals += [0, UInt8(field.name.count)] + headers.bytes[field.name]
            literals += [UInt8(field.value.count)] + headers.bytes[field.value]
        }
        let block = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: literals.count)
        _ = unsafe block.initialize(from: literals)
        unsafe self.block = UnsafeRawBufferPointer(UnsafeBufferPointer(block))
    }
}
