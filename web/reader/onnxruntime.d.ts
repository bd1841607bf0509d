// The types of the file that the build copies from onnxruntime-web beside the page's own modules.
export * from "onnxruntime-common";
