// Streams (Streams Standard), from web-streams-polyfill.
import * as streams from 'web-streams-polyfill';
import { define } from '../define.js';

define(streams);
export const { ReadableStream, WritableStream, TransformStream } = streams;
