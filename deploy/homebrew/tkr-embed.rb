# SPDX-License-Identifier: Apache-2.0
# A Homebrew formula for a tap of one's own. HOMEBREW_TKR_EMBED_GIT names the repository to build from:
#   HOMEBREW_TKR_EMBED_GIT=file://$PWD brew install --HEAD TAP/tkr-embed
# Never run: no Mac was at hand.
class TkrEmbed < Formula
  desc "Embedding vectors from texts, pictures, videos and documents, on the CPU or through MLX on the GPU"
  license "Apache-2.0"
  head ENV.fetch("HOMEBREW_TKR_EMBED_GIT", "file:///HOMEBREW_TKR_EMBED_GIT/is/not/set"), using: :git

  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "pkgconf" => :build
  depends_on "cairo"
  depends_on "ffmpeg"
  depends_on "hiredis"
  depends_on "icu4c"
  depends_on "jansson"
  depends_on "jpeg-turbo"
  depends_on "libarchive"
  depends_on "libpng"
  depends_on "libtiff"
  depends_on "libuv"
  depends_on "libyaml"
  depends_on "nettle"
  depends_on "openssl@3"
  depends_on "pcre2"
  depends_on "poppler"
  depends_on "webp"
  depends_on "wslay"
  depends_on "zstd"

  uses_from_macos "curl"
  uses_from_macos "libxml2"
  uses_from_macos "zlib"

  on_macos do
    on_arm do
      depends_on macos: :sonoma
      depends_on "mlx"
    end
  end

  def install
    args = %w[-DTKR_BUILD_TESTS=OFF -DTKR_WERROR=OFF]
    if OS.mac? && Hardware::CPU.arm?
      # The formula's layout has changed before; what counts is the folder that holds share/cmake/MLX.
      config = Dir[Formula["mlx"].opt_prefix/"**/share/cmake/MLX/MLXConfig.cmake"].first
      odie "mlx has no MLXConfig.cmake" if config.nil?
      args += ["-DTKR_MLX=ON", "-DTKR_MLX_ROOT=#{Pathname(config).parent.parent.parent.parent}"]
    end
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", *args, *std_cmake_args
    system "cmake", "--build", "build"
    system "cmake", "--install", "build"
  end

  test do
    assert_match "tkr-embed", shell_output("#{bin}/tkr-embed --version")
    assert_match "problems", shell_output("#{bin}/tkr-embed doctor")
  end
end
