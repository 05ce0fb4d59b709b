// `node:path`, from path-browserify: POSIX's; what is relative is relative to `/`.
import browserify from 'path-browserify';

const path = { ...browserify, resolve: (...parts) => browserify.resolve('/', ...parts) };
path.posix = path;

export const {
  basename, delimiter, dirname, extname, format, isAbsolute, join, normalize, parse, relative, resolve, sep, posix,
} = path;
export default path;
