// Limits the memory that the runtime reserves. It asks for 4 GiB, which iPhones with iOS 17 or older refuse; the
// largest of the toolkit's networks takes 64 MiB.

const MAX_PAGES = 4096; // of 64 KiB: 256 MiB

WebAssembly.Memory = class extends WebAssembly.Memory {
  /** @param {WebAssembly.MemoryDescriptor} descriptor */
  constructor(descriptor) {
    super({ ...descriptor, maximum: Math.min(descriptor.maximum ?? MAX_PAGES, MAX_PAGES) });
  }
};
