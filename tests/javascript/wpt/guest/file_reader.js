// A FileReader as far as the pages about Blob read with it: workers have none.
globalThis.FileReader ??= class FileReader {
  #read(name, blob) {
    blob[name]().then((result) => {
      this.result = result;
      this.onload?.({ target: this });
      this.onloadend?.({ target: this });
    }, (error) => {
      this.error = error;
      this.onerror?.({ target: this });
    });
  }
  readAsText(blob) { this.#read('text', blob); }
  readAsArrayBuffer(blob) { this.#read('arrayBuffer', blob); }
};
