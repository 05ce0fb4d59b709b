// The web platform's classes that are no part of fetch: one file a standard. Each file exports its classes, for the
// rest of the prelude, and defines the globals. Libraries come in through `import` and are bundled by esbuild
// (../../package.json pins them); a class whose name the bundle would change is given its own again.
import './base.js';
import './events.js';
import './abort.js';
import './url.js';
import './encoding.js';
import './streams.js';
import './identity_stream.js';
import './text_streams.js';
import './blob.js';
import './form_data.js';
import './urlpattern.js';
import './crypto.js';
import './structured_clone.js';
import './compression.js';
import './performance.js';
import './refused.js';
