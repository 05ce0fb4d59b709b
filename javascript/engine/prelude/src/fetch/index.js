// The Fetch Standard: headers, bodies, requests, responses, and `fetch` itself.
import { define } from '../define.js';
import { fetch } from './fetch.js';
import { Headers } from './headers.js';
import { Request } from './request.js';
import { Response } from './response.js';

define({ Headers, Request, Response, fetch });
